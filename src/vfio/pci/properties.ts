/**
 * The properties of `-device vfio-pci,...`: names, types, defaults and refusals, as QEMU has them
 * (spec/pci.md 1.3 and 1.4). The table is at the end; `parseProperties` reads it.
 */

import { parseDevfn } from "../../pci/bus.ts";
import { ViaductError } from "../../sys/sys-error.ts";
import { parsePciAddress } from "../host-node.ts";

export type OnOffAuto = "on" | "off" | "auto";
export type MsixRelocation = "off" | "auto" | "bar0" | "bar1" | "bar2" | "bar3" | "bar4" | "bar5";
export type IgdCompat = "9.0" | "10.0";
export type VfioPciDriver = "vfio-pci" | "vfio-pci-nohotplug";

/** Leave the ID as the device has it. */
export const ID_UNSET = 0xffff_ffff;

interface Property<T> {
  readonly parse: (text: string, where: Where) => T;
  /** When the property is not given. */
  readonly value: T;
  readonly nohotplugOnly?: true;
}

interface Where {
  readonly driver: VfioPciDriver;
  readonly property: string;
}

function refuse(message: string, nextStep?: string): never {
  throw new ViaductError("PROPERTY", message, nextStep === undefined ? {} : { nextStep });
}

function doesNotTake({ driver, property }: Where, text: string, nextStep?: string): never {
  refuse(`Property '${driver}.${property}' doesn't take value '${text}'`, nextStep);
}

const BOOLEANS: Readonly<Record<string, boolean>> = {
  on: true,
  yes: true,
  true: true,
  y: true,
  off: false,
  no: false,
  false: false,
  n: false,
};

function parseBool(text: string, { property }: Where): boolean {
  return BOOLEANS[text] ?? refuse(`Parameter '${property}' expects 'on' or 'off'`);
}

function parseNumber(max: number, type: string): (text: string, where: Where) => number {
  return (text, { property }) => {
    const value = /^(?:0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN;
    if (value <= max) return value;
    return refuse(`Parameter '${property}' expects ${type}`, `Give a number of 0 to ${max}.`);
  };
}

function oneOf<T extends string>(...choices: T[]): (text: string, where: Where) => T {
  return (text, { property }) =>
    choices.find((choice) => choice === text) ??
    refuse(
      `Parameter '${property}' does not accept value '${text}'`,
      `Choose one of: ${choices.join(", ")}.`,
    );
}

function parseHost(text: string, where: Where): string {
  try {
    return parsePciAddress(text);
  } catch {
    return doesNotTake(where, text, "Write the address as lspci -D shows it: 0000:01:00.0");
  }
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** The null UUID stands for none. */
function parseUuid(text: string, where: Where): string | undefined {
  if (!UUID.test(text)) return doesNotTake(where, text, "Give a UUID.");
  return /[1-9a-f]/i.test(text) ? text.toLowerCase() : undefined;
}

/** Guest slot: `slot[.function]`, both hexadecimal. */
function parseGuestAddress(text: string, where: Where): number {
  const devfn = parseDevfn(text);
  return devfn ?? doesNotTake(where, text, "Write slot.function, for example 05.0");
}

function parseClique(text: string, where: Where): number {
  const value = /^(?:0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN;
  if (value <= 15) return value;
  return refuse(`Property ${where.property}: valid range [0,15]`);
}

function parseRomSize(text: string, { property }: Where): number {
  const value = /^(?:0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN;
  const isPowerOfTwo = value > 0 && Number.isInteger(Math.log2(value));
  if (value <= 0x8000_0000 && isPowerOfTwo) return value;
  return refuse(`Property '${property}' must be a power of two`);
}

const text = (given: string): string => given;
const onOffAuto = oneOf("on", "off", "auto");
const u32 = parseNumber(0xffff_ffff, "uint32_t");

const property = <T>(parse: Property<T>["parse"], value: T): Property<T> => ({ parse, value });
const optional = <T>(parse: Property<T>["parse"]): Property<T | undefined> => ({
  parse,
  value: undefined,
});
const off = property(parseBool, false);
const on = property(parseBool, true);
const id = property(u32, ID_UNSET);

const PROPERTIES = {
  host: optional(parseHost),
  sysfsdev: optional(text),
  "vf-token": optional(parseUuid),
  fd: optional(text),
  iommufd: optional(text),
  display: property<OnOffAuto>(onOffAuto, "off"),
  xres: property(u32, 0),
  yres: property(u32, 0),
  "x-intx-mmap-timeout-ms": property(u32, 1100),
  "x-vga": off,
  "x-req": on,
  "x-igd-opregion": off,
  "x-igd-gms": property(u32, 0),
  "x-igd-lpc": off,
  "x-igd-legacy-mode": property<OnOffAuto>(onOffAuto, "auto"),
  /** Which QEMU's set-up of Intel graphics; QEMU has no such property. */
  "x-igd-compat": property<IgdCompat>(oneOf("9.0", "10.0"), "10.0"),
  "enable-migration": property<OnOffAuto>(onOffAuto, "auto"),
  "x-pre-copy-dirty-page-tracking": property<OnOffAuto>(onOffAuto, "on"),
  "x-device-dirty-page-tracking": property<OnOffAuto>(onOffAuto, "on"),
  "migration-events": off,
  "x-migration-multifd-transfer": property<OnOffAuto>(onOffAuto, "auto"),
  "x-no-mmap": off,
  "x-balloon-allowed": off,
  "x-no-kvm-intx": off,
  "x-no-kvm-msi": off,
  "x-no-kvm-msix": off,
  "x-no-geforce-quirks": off,
  "x-no-kvm-ioeventfd": off,
  "x-no-vfio-ioeventfd": off,
  "x-pci-vendor-id": id,
  "x-pci-device-id": id,
  "x-pci-sub-vendor-id": id,
  "x-pci-sub-device-id": id,
  "x-pci-class-code": id,
  "x-nv-gpudirect-clique": optional(parseClique),
  "x-msix-relocation": property<MsixRelocation>(
    oneOf("off", "auto", "bar0", "bar1", "bar2", "bar3", "bar4", "bar5"),
    "off",
  ),
  "skip-vsc-check": on,
  bootindex: optional(parseNumber(0x7fff_ffff, "int32_t")),
  ramfb: { ...off, nohotplugOnly: true },
  "x-ramfb-migrate": { ...property<OnOffAuto>(onOffAuto, "auto"), nohotplugOnly: true },
  "use-legacy-x86-rom": { ...off, nohotplugOnly: true },
  // Inherited from the generic PCI device (1.4).
  addr: optional(parseGuestAddress),
  multifunction: off,
  /** Undefined is "not given", which shows the ROM but does not insist on it. */
  rombar: optional(u32),
  romfile: optional(text),
  romsize: optional(parseRomSize),
  failover_pair_id: optional(text),
  "acpi-index": property(u32, 0),
  bus: optional(text),
  id: optional(text),
} as const satisfies Record<string, Property<unknown> & { nohotplugOnly?: boolean }>;

export type PropertyName = keyof typeof PROPERTIES;

/** The values of all properties, defaults included, under their own names. */
export type VfioPciProperties = {
  readonly [Name in PropertyName]: (typeof PROPERTIES)[Name] extends Property<infer T> ? T : never;
};

const find = (name: string): Property<unknown> | undefined =>
  Object.hasOwn(PROPERTIES, name) ? PROPERTIES[name as PropertyName] : undefined;

/** The names that `driver` knows, for `--help`. */
export function propertyNames(driver: VfioPciDriver): PropertyName[] {
  const names = Object.keys(PROPERTIES) as PropertyName[];
  return names.filter((name) => driver !== "vfio-pci" || !find(name)?.nohotplugOnly);
}

/**
 * Reads `name=value` pairs.
 * @throws {ViaductError} PROPERTY: an unknown name (the next step lists those it resembles), or a
 *   value the property does not take
 */
export function parseProperties(
  given: Readonly<Record<string, string>>,
  driver: VfioPciDriver = "vfio-pci",
): VfioPciProperties {
  const known = propertyNames(driver);
  const values: Record<string, unknown> = {};
  for (const name of known) values[name] = find(name)!.value;
  for (const [name, value] of Object.entries(given)) {
    const found = known.includes(name as PropertyName) ? find(name) : undefined;
    if (!found) return refuseUnknown(name, driver);
    values[name] = found.parse(value, { driver, property: name });
  }
  return values as unknown as VfioPciProperties;
}

function refuseUnknown(name: string, driver: VfioPciDriver): never {
  const near = propertyNames(driver).filter((known) => resembles(name, known));
  const hint = near.length > 0 ? ` Did you mean ${near.join(" or ")}?` : "";
  refuse(
    `Property '${driver}.${name}' not found`,
    `See \`viaduct run --device ${driver},help\` for the properties.${hint}`,
  );
}

/** A slip of two letters, or the name without its `x-`. */
function resembles(given: string, known: string): boolean {
  const plain = known.replace(/^x-/, "");
  const wanted = given.replace(/^x-/, "").replaceAll("_", "-");
  return plain === wanted || (plain.length > 3 && editDistance(wanted, plain) <= 2);
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substitution, previous[j]! + 1, row[j - 1]! + 1));
    }
    previous = row;
  }
  return previous[b.length]!;
}
