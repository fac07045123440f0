/**
 * A guest's view of some PCI functions as lines that can be compared with another guest's: each
 * names its moment and its function, and one of the hex dump is a register, named by where it is:
 * in the header (by its type) or in a capability (by its ID). Addresses of memory and numbers of
 * interrupts are not in the lines of `/proc`: who has what, how much of it and inside of what is.
 */

import type { GuestView, Moment } from "./parity-guest.ts";

const HEADER_TYPE = 0x0e;
const FIRST_BAR = 0x10;
/** Bits of a BAR that is the lower half of a 64-bit one. */
const BAR_64_BIT = 0x04;
const BAR_KIND = 0x07;
const CAPABILITY_LIST = 0x34;
const FIRST_CAPABILITY = 0x40;
const FIRST_EXTENDED = 0x100;
const CAPABILITIES_MAX = 100;

export interface FunctionView {
  readonly address: string;
  /** The lines of `-vvv`; the first begins with the address. */
  readonly text: readonly string[];
  readonly config: Buffer;
}

/** The functions of lspci's output. */
export function functionsOf(lspci: string): FunctionView[] {
  const blocks = lspci.trimEnd().split(/\n\n+/);
  return blocks.map((block) => {
    const lines = block.split("\n");
    const text = lines.filter((line) => !/^[0-9a-f]{2,3}: /.test(line));
    const bytes = lines.flatMap((line) => /^[0-9a-f]{2,3}: (.*)$/.exec(line)?.[1] ?? []);
    const config = Buffer.from(bytes.join("").replaceAll(" ", ""), "hex");
    return { address: text[0]!.split(" ")[0]!, text, config };
  });
}

/** Where capabilities begin, with what a register in each is called. */
function capabilities(config: Buffer): Map<number, string> {
  const found = new Map<number, string>();
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");
  for (let at = config[CAPABILITY_LIST]!; at >= FIRST_CAPABILITY; at = config[at + 1]!) {
    if (found.has(at) || found.size > CAPABILITIES_MAX) break;
    found.set(at, `cap ${hex(config[at]!, 2)}`);
  }
  for (let at = FIRST_EXTENDED; at >= FIRST_EXTENDED && at < config.length; ) {
    if (found.has(at) || found.size > CAPABILITIES_MAX) break;
    const header = config.readUInt32LE(at);
    found.set(at, `ext ${hex(header & 0xffff, 4)}`);
    at = header >>> 20;
  }
  return found;
}

/** Where the upper halves of 64-bit BARs are. */
function upperHalves(config: Buffer, type: number): Set<number> {
  const found = new Set<number>();
  const end = FIRST_BAR + (type === 0 ? 24 : 8);
  for (let at = FIRST_BAR; at < end; at += 4) {
    if ((config[at]! & BAR_KIND) !== BAR_64_BIT) continue;
    at += 4;
    found.add(at);
  }
  return found;
}

/** `cap 05+04 = fee01004`: each double word that is not 0. */
function registersOf(config: Buffer): string[] {
  const starts = capabilities(config);
  const type = config[HEADER_TYPE]! & 0x7f;
  const uppers = upperHalves(config, type);
  const lines: string[] = [];
  let name = `header${type}`;
  let start = 0;
  for (let at = 0; at < config.length; at += 4) {
    if (starts.has(at)) [name, start] = [starts.get(at)!, at];
    const value = config.readUInt32LE(at);
    if (value === 0) continue;
    const offset = (at - start).toString(16).padStart(2, "0");
    const half = uppers.has(at) ? " upper" : "";
    lines.push(`${name}+${offset}${half} = ${value.toString(16).padStart(8, "0")}`);
  }
  return lines;
}

/** `8086:10d3`. */
function identity(config: Buffer): string {
  const word = (at: number) => config.readUInt16LE(at).toString(16).padStart(4, "0");
  return `${word(0)}:${word(2)}`;
}

/** `size inside parent: name`, of the buses behind bridges and of all that is in the functions. */
function iomemLines(iomem: string, identities: ReadonlyMap<string, string>): string[] {
  const path: string[] = [];
  const lines: string[] = [];
  for (const line of iomem.split("\n")) {
    const match = /^( *)([0-9a-f]+)-([0-9a-f]+) : (.*)$/.exec(line);
    if (!match) continue;
    const [, indent, first, last, name] = match;
    path.length = indent!.length / 2;
    path.push(name!);
    const ours = path.some((each) => identities.has(each) || isBusBehind(each));
    const size = BigInt(`0x${last}`) - BigInt(`0x${first}`) + 1n;
    const what = [name, identities.get(name!)].join(" ").trim();
    if (ours) lines.push(`iomem: ${what} has 0x${size.toString(16)} in ${path.at(-2)}`);
  }
  return lines;
}

const isBusBehind = (name: string) => /^PCI Bus [0-9a-f:]+$/.test(name) && !name.endsWith(":00");

/** `controller trigger: action`, without numbers and counts; one for each that shares a line. */
function interruptLines(interrupts: string): string[] {
  return interrupts.split("\n").flatMap((line) => {
    const match = /^ *\d+:(?: +\d+)+ +(\S+) +(\S+) +(\S.*)$/.exec(line);
    if (!match) return [];
    const [, chip, wired, actions] = match;
    const kind = chip === "IO-APIC" ? wired!.replace(/^\d+-/, "") : wired!;
    return actions!.split(", ").map((action) => `interrupt: ${chip} ${kind} ${action}`);
  });
}

/** All lines about the functions at `addresses`, as `0000:01:00.0`, at a moment. */
export function parityLines(
  moment: Moment,
  view: GuestView,
  addresses: ReadonlySet<string>,
): string[] {
  const functions = functionsOf(view.lspci).filter(({ address }) => addresses.has(address));
  const identities = new Map(functions.map(({ address, config }) => [address, identity(config)]));
  const lines = [
    ...functions.flatMap(({ address, text, config }) =>
      [...text.map((line) => line.trim()), ...registersOf(config)].map(
        (line) => `${address} ${identities.get(address)} ${line}`,
      ),
    ),
    ...iomemLines(view.iomem, identities),
    ...interruptLines(view.interrupts),
  ];
  return lines.map((line) => `${moment} ${line}`);
}
