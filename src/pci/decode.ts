/**
 * Configuration space, decoded: the header and every capability, as typed JSON and as the text of
 * `lspci -vvv`. Read next: decode/header.ts, decode/standard.ts, decode/express.ts,
 * decode/extended.ts; decode/reader.ts is what they are written with.
 *
 * The bytes may come from anywhere (a file, a bundle, a guest): nothing in them makes this throw,
 * chains that loop or lead outside end the list.
 */

import { decodeExpress } from "./decode/express.ts";
import { EXTENDED_CAPABILITIES } from "./decode/extended.ts";
import { decodeHeader, type KnownRegion } from "./decode/header.ts";
import {
  CapabilityWriter,
  ConfigReader,
  type FunctionContext,
  hex,
  type RegisterFields,
  type SubsystemNames,
} from "./decode/reader.ts";
import { STANDARD_CAPABILITIES } from "./decode/standard.ts";

export interface DecodedCapability {
  /** PCI_CAP_ID_* or PCI_EXT_CAP_ID_*. */
  readonly id: number;
  /** A short name: `msi-x`, `express`, `aer`; `unknown` for other ids. */
  readonly name: string;
  readonly offset: number;
  readonly isExtended: boolean;
  /** Extended capabilities only. */
  readonly version?: number;
  readonly registers: Readonly<Record<string, RegisterFields>>;
  /** As lspci prints it, without the indent; the first is the title. */
  readonly lines: readonly string[];
}

export interface DecodedConfig {
  readonly vendor: number;
  readonly device: number;
  /** 0xCCSSPP. */
  readonly classCode: number;
  readonly revision: number;
  /** 0: a function; 1: a bridge. */
  readonly headerType: number;
  readonly isMultifunction: boolean;
  readonly registers: Readonly<Record<string, RegisterFields>>;
  readonly headerLines: readonly string[];
  readonly capabilities: readonly DecodedCapability[];
  /** How the walk of the capabilities ended, when not at its end. */
  readonly problem?: string;
}

/** What the host knows and the registers do not say. */
export interface DecodeContext {
  readonly devfn?: number;
  readonly irq?: number | undefined;
  readonly numaNode?: number | undefined;
  readonly group?: number | undefined;
  /** The regions with the host's addresses and sizes; absent: only the registers are known. */
  readonly regions?: readonly KnownRegion[];
  readonly subsystemName?: SubsystemNames;
}

const EXPRESS = 0x10;
const FIRST_EXTENDED = 0x100;

/** Decodes 64, 256 or 4096 bytes; fewer bytes give fewer answers. */
export function decodeConfig(bytes: Uint8Array, context: DecodeContext = {}): DecodedConfig {
  const config = new ConfigReader(bytes);
  const header = new CapabilityWriter(config, 0);
  decodeHeader(header, {
    irq: context.irq,
    numaNode: context.numaNode,
    group: context.group,
    regions: context.regions,
  });
  const hasMemoryBar =
    context.regions?.some((region) => region.index < 6 && isMemoryBar(config, region)) ?? false;
  const { devfn = 0, subsystemName } = context;
  const about = { devfn, hasMemoryBar, subsystemName };
  const { capabilities, problem } = decodeCapabilities(config, about);
  return {
    vendor: config.u16(0),
    device: config.u16(2),
    classCode: config.u8(9) | (config.u16(10) << 8),
    revision: config.u8(8),
    headerType: config.u8(0x0e) & 0x7f,
    isMultifunction: (config.u8(0x0e) & 0x80) !== 0,
    registers: header.registers,
    headerLines: header.lines,
    capabilities,
    ...(problem === undefined ? {} : { problem }),
  };
}

function isMemoryBar(config: ConfigReader, region: KnownRegion): boolean {
  return region.size > 0n && (config.u8(0x10 + region.index * 4) & 1) === 0;
}

function decodeCapabilities(config: ConfigReader, context: FunctionContext) {
  const capabilities: DecodedCapability[] = [];
  if ((config.u16(6) & 0x10) === 0) return { capabilities };
  const seen = new Set<number>();
  const isCardBus = (config.u8(0x0e) & 0x7f) === 2;
  let at = config.u8(isCardBus ? 0x14 : 0x34) & 0xfc;
  if (at !== 0 && !config.has(64, 1)) return { capabilities, problem: "<access denied>" };
  while (at !== 0) {
    const id = config.u8(at);
    if (seen.has(at)) return { capabilities, problem: `[${hex(at, 2)}] <chain looped>` };
    if (id === 0xff) return { capabilities, problem: `[${hex(at, 2)}] <chain broken>` };
    seen.add(at);
    capabilities.push(decodeStandard(config, id, at, context));
    at = config.u8(at + 1) & 0xfc;
  }
  if (!capabilities.some(({ id }) => id === EXPRESS || id === 0x07)) return { capabilities };
  const problem = decodeExtended(config, capabilities);
  return problem === undefined ? { capabilities } : { capabilities, problem };
}

function decodeStandard(
  config: ConfigReader,
  id: number,
  offset: number,
  context: FunctionContext,
): DecodedCapability {
  const out = new CapabilityWriter(config, offset);
  const known = STANDARD_CAPABILITIES[id];
  let name = known?.[0] ?? "unknown";
  if (id === EXPRESS) {
    name = "express";
    decodeExpress(out, context);
  } else if (known === undefined) {
    out.line(`Capability ID 0x${hex(id, 1)} [${hex(out.u16(2), 4)}]`);
  } else {
    known[1](out, context);
  }
  return { id, name, offset, isExtended: false, registers: out.registers, lines: out.lines };
}

/** Adds the extended capabilities. @returns how the chain broke, if it did */
function decodeExtended(
  config: ConfigReader,
  capabilities: DecodedCapability[],
): string | undefined {
  const seen = new Set<number>();
  let at = FIRST_EXTENDED;
  while (at !== 0 && config.has(at, 4)) {
    const header = config.u32(at);
    if (header === 0 || header === 0xffffffff) return undefined;
    if (seen.has(at)) return `[${hex(at, 3)}] <chain looped>`;
    seen.add(at);
    const id = header & 0xffff;
    const version = (header >>> 16) & 15;
    const out = new CapabilityWriter(config, at);
    const known = EXTENDED_CAPABILITIES[id];
    if (known === undefined) out.line(`Extended Capability ID 0x${hex(id, 1)}`);
    else known[1](out);
    const name = known?.[0] ?? "unknown";
    const { registers, lines } = out;
    capabilities.push({ id, name, offset: at, isExtended: true, version, registers, lines });
    at = (header >>> 20) & 0xffc;
  }
  return undefined;
}

/** The lines of `lspci -vvv` below the device's name, each with its tabs. */
export function configText(decoded: DecodedConfig): string[] {
  const lines = decoded.headerLines.map((line) => `\t${line}`);
  for (const capability of decoded.capabilities) {
    const { offset, version, isExtended } = capability;
    const place = isExtended ? `[${hex(offset, 3)} v${version}]` : `[${hex(offset, 2)}]`;
    const [title = "", ...rest] = capability.lines;
    lines.push(`\tCapabilities: ${place} ${title}`, ...rest.map((line) => `\t\t${line}`));
  }
  if (decoded.problem !== undefined) lines.push(`\tCapabilities: ${decoded.problem}`);
  return lines;
}
