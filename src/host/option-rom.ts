/**
 * An option ROM's images (PCI Firmware Specification 3.3, 5.1): which kinds of code it holds.
 */

import { closeSync, openSync, writeSync } from "node:fs";
import type { HostDevice } from "./pci-device.ts";

const ROM_SIGNATURE = 0xaa55;
/** "PCIR". */
const DATA_SIGNATURE = 0x5249_4350;
const UNIT = 512;
const LAST_IMAGE = 0x80;
const IMAGES_MAX = 64;

/** Code types: a legacy BIOS's, and UEFI's. */
export const ROM_CODE_X86 = 0;
export const ROM_CODE_EFI = 3;

/** The code type of each image, in order; empty when the bytes are no option ROM. */
export function romImages(rom: Uint8Array): number[] {
  const u16 = (at: number) => (rom[at] ?? 0) | ((rom[at + 1] ?? 0) << 8);
  const u32 = (at: number) => (u16(at) | (u16(at + 2) << 16)) >>> 0;
  const kinds: number[] = [];
  let at = 0;
  while (kinds.length < IMAGES_MAX && at + 0x1a <= rom.length && u16(at) === ROM_SIGNATURE) {
    const data = at + u16(at + 0x18);
    if (data + 0x16 > rom.length || u32(data) !== DATA_SIGNATURE) break;
    kinds.push(rom[data + 0x14]!);
    const length = u16(data + 0x10) * UNIT;
    if (length === 0 || (rom[data + 0x15]! & LAST_IMAGE) !== 0) break;
    at += length;
  }
  return kinds;
}

/**
 * The device's option ROM; sysfs shows it only after a write turned its decoder on, and it is
 * turned off again (Documentation/PCI/sysfs-pci.rst). Undefined: none, or it could not be read.
 */
export function readRom(device: HostDevice): Uint8Array | undefined {
  const path = `${device.path}/rom`;
  if (!device.tree.isLive) return device.tree.bytes(path).value;
  if (!turnRom(path, "1")) return undefined;
  try {
    return device.tree.bytes(path).value;
  } finally {
    turnRom(path, "0");
  }
}

function turnRom(path: string, value: "0" | "1"): boolean {
  try {
    const fd = openSync(path, "r+");
    try {
      writeSync(fd, value);
    } finally {
      closeSync(fd);
    }
    return true;
  } catch {
    // No ROM, or not permitted: the check says that it was not read.
    return false;
  }
}
