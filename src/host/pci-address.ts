/**
 * PCI addresses as people and tools write them. Always printed in full: `0000:01:00.0`.
 */

export interface PciAddress {
  readonly domain: number;
  readonly bus: number;
  readonly slot: number;
  /** Undefined: all functions of the slot. */
  readonly function: number | undefined;
}

const SHORT = /^(?:([0-9a-f]{1,8}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})(?:\.([0-7]))?$/i;
/** virsh's name of a node device. */
const NODEDEV = /^pci_([0-9a-f]{4,8})_([0-9a-f]{2})_([0-9a-f]{2})_([0-7])$/i;
const FULL = /^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/;

/** Reads `01:00.0`, `0000:01:00.0`, `01:00` and `pci_0000_01_00_0`; undefined for other text. */
export function parseAddress(text: string): PciAddress | undefined {
  const match = SHORT.exec(text) ?? NODEDEV.exec(text);
  if (match === null) return undefined;
  const slot = Number.parseInt(match[3]!, 16);
  if (slot > 0x1f) return undefined;
  return {
    domain: Number.parseInt(match[1] ?? "0", 16),
    bus: Number.parseInt(match[2]!, 16),
    slot,
    function: match[4] === undefined ? undefined : Number(match[4]),
  };
}

/** `0000:01:00.0`; without a function `0000:01:00`. */
export function formatAddress(address: PciAddress): string {
  const { domain, bus, slot } = address;
  const place = `${pad(domain, 4)}:${pad(bus, 2)}:${pad(slot, 2)}`;
  return address.function === undefined ? place : `${place}.${address.function}`;
}

/** Is this the full form, as sysfs names devices? */
export function isFullAddress(name: string): boolean {
  return FULL.test(name);
}

/** The slot part of a full address: `0000:01:00`. */
export function slotOf(address: string): string {
  return address.slice(0, address.lastIndexOf("."));
}

/** The last full PCI address in a sysfs path: the PCI device that a class device belongs to. */
export function lastAddressIn(path: string): string | undefined {
  return path.split("/").findLast(isFullAddress);
}

function pad(value: number, width: number): string {
  return value.toString(16).padStart(width, "0");
}
