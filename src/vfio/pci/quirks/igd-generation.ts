/** Intel integrated graphics: which generation a device ID is (spec/igd.md 2.2), and its fields. */

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

/** Base of data stolen memory (BDSM) in config space. */
export function stolenBaseRegister(generation: number): {
  readonly offset: number;
  readonly size: 4 | 8;
} {
  return generation < 11 ? { offset: 0x5c, size: 4 } : { offset: 0xc0, size: 8 };
}
