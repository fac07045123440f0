/**
 * The video BIOS of Intel graphics as the kernel shows it is the host's copy in use (spec/igd.md
 * 7.12): a routine has noted the host's stolen memory in it. With the note gone, it asks config
 * space again, which is the guest's.
 */

import { readLittleEndian } from "../../../pci/config-space.ts";
import type { VfioPciFunction } from "../vfio-pci.ts";
import { igdGeneration } from "./igd-generation.ts";
import * as trace from "./trace.ts";

const VENDOR_INTEL = 0x8086;
const ROM_SIGNATURE = 0xaa55;
const PCIR_POINTER = 0x18;
const PCIR_SIGNATURE = 0x5249_4350; // "PCIR", little-endian
const PCIR_CODE_TYPE = 0x14;
const CODE_TYPE_LEGACY = 0;
const CHECKSUM = 6;

/** The routine's bytes; undefined stands for the offset of its note, a word that comes twice. */
const ROUTINE = [
  ...[0x66, 0x2e, 0x83, 0x3e, undefined, undefined, 0x00, 0x74, 0x07, 0x66, 0x2e, 0xa1],
  ...[undefined, undefined, 0xeb, 0x0f, 0xb8, 0x5e, 0x10],
];
const FIRST_OFFSET = 4;
const SECOND_OFFSET = 12;
const NOTE_SIZE = 4;

export function patchIgdVbios(fn: VfioPciFunction, image: Uint8Array): void {
  const { vendor, device, isVga } = fn.ids;
  if (vendor !== VENDOR_INTEL || !isVga || !fn.vga) return;
  if (fn.properties["x-igd-compat"] !== "10.0") return;
  const generation = igdGeneration(device) ?? 0;
  if (generation < 6 || generation > 9) return;
  if (clearStolenMemoryNote(image)) trace.vfio_pci_igd_vbios_patched.emit({ name: fn.name });
}

/** @returns false, and the image untouched, unless the routine is there exactly once */
export function clearStolenMemoryNote(image: Uint8Array): boolean {
  if (!isLegacyImage(image)) return false;
  const notes = new Set<number>();
  let matches = 0;
  for (let at = 0; at + ROUTINE.length <= image.length; at++) {
    if (!ROUTINE.every((byte, i) => byte === undefined || byte === image[at + i])) continue;
    const note = readLittleEndian(image, at + FIRST_OFFSET, 2);
    if (note !== readLittleEndian(image, at + SECOND_OFFSET, 2)) continue;
    matches++;
    notes.add(note);
  }
  const [note] = notes;
  if (matches !== 1 || note === undefined || note + NOTE_SIZE > image.length) return false;
  image.fill(0, note, note + NOTE_SIZE);
  const sum = image.reduce((total, byte) => total + byte, 0);
  image[CHECKSUM] = image[CHECKSUM]! - sum;
  return true;
}

function isLegacyImage(image: Uint8Array): boolean {
  if (image.length < PCIR_POINTER + 2) return false;
  if (readLittleEndian(image, 0, 2) !== ROM_SIGNATURE) return false;
  const pcir = readLittleEndian(image, PCIR_POINTER, 2);
  if (pcir + PCIR_CODE_TYPE >= image.length) return false;
  if (readLittleEndian(image, pcir, 4) !== PCIR_SIGNATURE) return false;
  return image[pcir + PCIR_CODE_TYPE] === CODE_TYPE_LEGACY;
}
