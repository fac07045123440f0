/**
 * A device that does nothing but send interrupts: MSI-X with its table in the middle of a mapped
 * BAR, plain memory, and a register that fires a vector.
 */

import type { PciDeviceSpec } from "../pci-spec.ts";

/** Registers of BAR 0. */
export const MSIX_TEST_SCRATCH = 0x0;
/** A write of n fires vector n; a read counts the messages that were sent. */
export const MSIX_TEST_FIRE = 0x4;

export interface MsixTestOptions {
  readonly vectors?: number;
  readonly dynamic?: boolean;
  readonly available?: number;
}

/** BAR 0: registers. BAR 2: 64 KiB of memory, 64-bit. BAR 4: memory with table and PBA in it. */
export function msixTestSpec(address: string, options: MsixTestOptions = {}): PciDeviceSpec {
  const { vectors = 8, dynamic = false, available } = options;
  return {
    address,
    vendorId: 0x1b36,
    deviceId: 0x10f0,
    classCode: 0x088000,
    bars: {
      0: { size: 0x1000, kind: "mem32", mmap: false },
      2: { size: 0x1_0000, kind: "mem64", prefetchable: true },
      4: { size: 0x4000, kind: "mem32" },
    },
    msix: {
      vectors,
      table: { bar: 4, offset: 0x1000 },
      pba: { bar: 4, offset: 0x2000 },
      dynamic,
      ...(available !== undefined && { available }),
    },
    behaviour: (device) => {
      let scratch = 0;
      let sent = 0;
      return {
        bars: {
          0: {
            read: (offset) => (offset === MSIX_TEST_FIRE ? sent : scratch),
            write: (offset, _size, value) => {
              if (offset === MSIX_TEST_SCRATCH) scratch = value;
              if (offset === MSIX_TEST_FIRE && device.irqs.fire(value)) sent++;
            },
          },
        },
        reset: () => {
          scratch = 0;
          sent = 0;
        },
      };
    },
  };
}
