/**
 * One access that lies within one section, given to the region's handler. Rules of `IoHandler`: 1, 2
 * or 4 bytes at an offset of the region; 8 bytes are two accesses of 4, low half first, unless the
 * handler has the 64-bit pair. Nothing there reads all ones and swallows writes, as a PCI bus does.
 */

import type { Section } from "./address-space.ts";

export type AccessSize = 1 | 2 | 4 | 8;

const ALL_ONES: Record<AccessSize, bigint> = {
  1: 0xffn,
  2: 0xffffn,
  4: 0xffff_ffffn,
  8: 0xffff_ffff_ffff_ffffn,
};

const LOW_32 = 0xffff_ffffn;

export function readSection(
  section: Section | undefined,
  address: bigint,
  size: AccessSize,
): bigint {
  const handler = section?.region.handler;
  if (section === undefined || handler === undefined) return ALL_ONES[size];
  const offset = Number(section.offsetInRegion + (address - section.address));
  if (size !== 8) return BigInt(handler.read(offset, size)) & ALL_ONES[size];
  if (handler.read64 !== undefined) return BigInt.asUintN(64, handler.read64(offset));
  const low = BigInt(handler.read(offset, 4)) & LOW_32;
  const high = BigInt(handler.read(offset + 4, 4)) & LOW_32;
  return (high << 32n) | low;
}

export function writeSection(
  section: Section | undefined,
  address: bigint,
  size: AccessSize,
  value: bigint,
): void {
  const handler = section?.region.handler;
  if (section === undefined || handler === undefined) return;
  const offset = Number(section.offsetInRegion + (address - section.address));
  if (size !== 8) {
    handler.write(offset, size, Number(value & ALL_ONES[size]));
  } else if (handler.write64 !== undefined) {
    handler.write64(offset, value);
  } else {
    handler.write(offset, 4, Number(value & LOW_32));
    handler.write(offset + 4, 4, Number((value >> 32n) & LOW_32));
  }
}
