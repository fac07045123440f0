/**
 * Intel integrated graphics: which generation a device ID is (spec/igd.md section 2), and what the
 * fields of its registers mean.
 */

import { devfnOf } from "../../../pci/bus.ts";

/** The primary display's place in the guest. */
export const LEGACY_DEVFN = devfnOf(2);

/** High byte of the device ID to generation. */
const PLATFORMS: ReadonlyArray<{ readonly generation: number; readonly highBytes: number[] }> = [
  { generation: 6, highBytes: [0x01] }, // Sandy Bridge, Ivy Bridge
  { generation: 7, highBytes: [0x04, 0x0a, 0x0c, 0x0d, 0x0f] }, // Haswell, Valleyview
  { generation: 8, highBytes: [0x16, 0x22] }, // Broadwell, Cherryview
  { generation: 9, highBytes: [0x19, 0x59, 0x3e, 0x9b, 0x31] }, // Skylake to Comet Lake
  { generation: 11, highBytes: [0x8a, 0x45, 0x4e] }, // Ice Lake, Elkhart Lake, Jasper Lake
  { generation: 12, highBytes: [0x9a, 0x4c, 0x46, 0xa7] }, // Tiger Lake to Raptor Lake
];

/** Broxton and Apollo Lake share high bytes with others: 0a84, 1a84, 1a85, 5a84, 5a85. */
const BROXTON_MASK = 0xffe;
const BROXTON = 0xa84;

/** @returns undefined for a device that is not known */
export function igdGeneration(device: number): number | undefined {
  if ((device & BROXTON_MASK) === BROXTON) return 9;
  return PLATFORMS.find(({ highBytes }) => highBytes.includes(device >>> 8))?.generation;
}

const UNSUPPORTED_UP_TO_90 = [0x00, 0x25, 0x27, 0x29, 0x2a, 0x2e, 0x35, 0xa0];
const GENERATION_6_UP_TO_90 = [0x01, 0x04, 0x0a, 0x0c, 0x0d, 0x0f];
const BROXTON_MASK_UP_TO_90 = 0xfff;

/**
 * As QEMU up to 9.0 counted (2.1): two kinds, the newer one for all that is not known.
 * @returns undefined for what is older
 */
export function igdGenerationUpTo90(device: number): 6 | 8 | undefined {
  if ((device & BROXTON_MASK_UP_TO_90) === BROXTON) return 8;
  if (UNSUPPORTED_UP_TO_90.includes(device >>> 8)) return undefined;
  return GENERATION_6_UP_TO_90.includes(device >>> 8) ? 6 : 8;
}

/** Graphics control (GGC, GMCH) in config space. */
export const IGD_GGC = 0x50;
export const GGC_VGA_DISABLE = 1 << 1;

/** The field of GGC with the size of data stolen memory. */
export function gmsField(generation: number): { readonly mask: number; readonly shift: number } {
  return generation < 8 ? { mask: 0xf8, shift: 3 } : { mask: 0xff00, shift: 8 };
}

/** Size of data stolen memory in MiB (7.7). */
export function stolenMemoryMiB(generation: number, ggc: number): number {
  const { mask, shift } = gmsField(generation);
  const value = (ggc & mask) >>> shift;
  // From generation 9 on the last values count in steps of 4 MiB.
  return generation >= 9 && value >= 0xf0 ? 4 * (value - 0xef) : 32 * value;
}

/** Size of the graphics page tables in MiB (GGMS, 4.3). */
export function gttSizeMiB(generation: 6 | 8, ggc: number): number {
  return generation === 6 ? (ggc >>> 8) & 3 : 1 << ((ggc >>> 6) & 3);
}

/** Base of data stolen memory, where it has 32 bits. */
export const IGD_BDSM = 0x5c;

/** Base of data stolen memory (BDSM) in config space. */
export function stolenBaseRegister(generation: number): {
  readonly offset: number;
  readonly size: 4 | 8;
} {
  return generation < 11 ? { offset: IGD_BDSM, size: 4 } : { offset: 0xc0, size: 8 };
}
