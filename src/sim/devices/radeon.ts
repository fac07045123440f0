/**
 * A Radeon of the Bonaire kind, as far as its reset goes (spec/pci-quirks.md section 7): the system
 * management controller behind an index and a data register of BAR 5.
 */

import type { PciDeviceSpec } from "../pci-spec.ts";

const INDEX = 0x200;
const DATA = 0x204;
export const RADEON_MEMORY_SIZE = 0x5428;
export const SMC_CLOCK = 0x8000_0004;
export const SMC_PROGRAM_COUNTER = 0x8000_0370;

export interface RadeonOptions {
  /** Registers of the controller that differ from those of a card at work. */
  readonly smc?: Readonly<Record<number, number>>;
  /** How many reads of the memory size say that the card is away. */
  readonly absentReads?: number;
  /** `index` or `index=value`, in the order of access. */
  readonly log?: string[];
}

export function radeonSpec(address: string, options: RadeonOptions = {}): PciDeviceSpec {
  return {
    address,
    vendorId: 0x1002,
    deviceId: 0x6658,
    classCode: 0x030000,
    reset: "none",
    hotResettable: false,
    bars: {
      0: { size: 0x1_0000, kind: "mem64", prefetchable: true },
      2: { size: 0x1_0000, kind: "mem64", prefetchable: true },
      4: { size: 0x100, kind: "io" },
      5: { size: 0x1_0000, kind: "mem32", mmap: false },
    },
    behaviour: () => ({ bars: { 5: registers(options) } }),
  };
}

function registers({ smc = {}, absentReads = 0, log = [] }: RadeonOptions) {
  const values = new Map<number, number>([
    [SMC_PROGRAM_COUNTER, 0x2_0200],
    ...Object.entries(smc).map(([index, value]): [number, number] => [Number(index), value]),
  ]);
  let index = 0;
  let absent = absentReads;
  return {
    read: (offset: number) => {
      if (offset === RADEON_MEMORY_SIZE) return absent-- > 0 ? 0xffff_ffff : 0x800;
      if (offset !== DATA) return 0;
      log.push(index.toString(16));
      return values.get(index) ?? 0;
    },
    write: (offset: number, _size: number, value: number) => {
      if (offset === INDEX) index = value;
      if (offset !== DATA) return;
      log.push(`${index.toString(16)}=${value.toString(16)}`);
      values.set(index, value);
    },
  };
}
