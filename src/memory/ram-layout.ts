/**
 * Where guest RAM lies. Below 4 GiB there is a hole for the PCI windows, ECAM, the IO-APIC, the
 * local APIC and the firmware; what does not fit below it continues at 4 GiB (QEMU's q35 does so):
 *
 *     0           low RAM       hole          4 GiB         high RAM
 *     |------ up to 2.75 GiB ---|.............|-------------- rest --------|
 */

import { type Gpa, gpa } from "./address.ts";

const GIB = 1n << 30n;

/** RAM from here on would leave a hole too small for big BARs: then low RAM ends at 2 GiB. */
const LOW_LIMIT = 0xb000_0000n;
export const HIGH_RAM_START: Gpa = gpa(4n * GIB);

export interface RamPiece {
  readonly address: Gpa;
  readonly size: bigint;
}

/** The pieces of `size` bytes of RAM, ascending. Like q35: all low below 2.75 GiB, else 2 GiB low. */
export function ramLayout(size: bigint): RamPiece[] {
  const low = size < LOW_LIMIT ? size : 2n * GIB;
  const pieces = [{ address: gpa(0), size: low }];
  if (size > low) pieces.push({ address: HIGH_RAM_START, size: size - low });
  return pieces;
}
