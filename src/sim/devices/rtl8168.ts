/**
 * A network card of the RTL8168 kind, as far as its MSI-X table goes, which it also shows through a
 * data and a command register of BAR 2 (spec/pci-quirks.md section 6).
 */

import type { PciDeviceSpec } from "../pci-spec.ts";

const DATA = 0x70;
const COMMAND = 0x74;
const DONE = 0x8000_0000;

/** @param table the device's own MSI-X table: what a guest must not reach */
export function rtl8168Spec(address: string, table = new Uint32Array(16)): PciDeviceSpec {
  const registers = new Map<number, number>();
  return {
    address,
    vendorId: 0x10ec,
    deviceId: 0x8168,
    classCode: 0x020000,
    bars: {
      0: { size: 0x100, kind: "io" },
      2: { size: 0x1000, kind: "mem64", mmap: false },
      4: { size: 0x4000, kind: "mem64", prefetchable: true },
    },
    msix: { vectors: 4, table: { bar: 4, offset: 0 }, pba: { bar: 4, offset: 0x800 } },
    behaviour: () => ({
      bars: {
        2: {
          read: (offset) => registers.get(offset) ?? 0,
          write: (offset, _size, value) => {
            registers.set(offset, value);
            if (offset !== COMMAND || (value & 0x7fff_0000) !== 0x1_0000) return;
            const entry = (value & 0xfff) / 4;
            if ((value & DONE) !== 0) table[entry] = registers.get(DATA) ?? 0;
            else registers.set(DATA, table[entry] ?? 0);
            registers.set(COMMAND, (value ^ DONE) >>> 0);
          },
        },
      },
    }),
  };
}
