/**
 * Intel integrated graphics, as far as assigning it goes (spec/igd.md section 1): the registers
 * with the host's addresses, and the regions in which the kernel shows OpRegion and bridges.
 */

import type { PciDeviceSpec, RegionSpec } from "../pci-spec.ts";

const REGION_TYPE = 0x8000_8086;
export const IGD_HOST_OPREGION = 0x7abc_d018;
export const IGD_HOST_STOLEN_BASE = 0x7c00_0000;

export interface IgdOptions {
  readonly deviceId?: number;
  /** Graphics control, at 0x50. */
  readonly ggc?: number;
  readonly rom?: Uint8Array;
  /** Leaves out regions, as a kernel without IGD support does. */
  readonly regions?: boolean;
  readonly vga?: boolean;
}

export function igdSpec(address: string, options: IgdOptions = {}): PciDeviceSpec {
  const { deviceId = 0x1912, ggc = 0x0241, vga = true, rom, regions = true } = options;
  return {
    address,
    vendorId: 0x8086,
    deviceId,
    classCode: 0x030000,
    configSize: 256,
    vga,
    ...(rom && { rom }),
    bars: {
      0: { size: 0x40_0000, kind: "mem64" },
      2: { size: 0x1000_0000, kind: "mem64", prefetchable: true, mmap: false },
      4: { size: 0x40, kind: "io" },
    },
    extended: [
      { offset: 0x50, bytes: dword(ggc) },
      { offset: 0x5c, bytes: dword(IGD_HOST_STOLEN_BASE) },
      { offset: 0xc0, bytes: dword(IGD_HOST_STOLEN_BASE) },
      { offset: 0xfc, bytes: dword(IGD_HOST_OPREGION) },
    ],
    regions: regions ? hostRegions() : [],
  };
}

/** The OpRegion's content: any bytes will do. */
export const igdOpRegion = Uint8Array.from({ length: 8192 }, (_, i) => (i * 7) & 0xff);

function hostRegions(): RegionSpec[] {
  const bridge = (device: number) => {
    const bytes = new Uint8Array(256);
    bytes.set([0x86, 0x80, device & 0xff, device >>> 8]);
    bytes.set([0x31, 0x01], 0x08);
    bytes.set([0x28, 0x10, 0xad, 0x06], 0x2c);
    return bytes;
  };
  return [igdOpRegion, bridge(0x191f), bridge(0xa145)].map((bytes, i) => {
    return { type: REGION_TYPE, subtype: i + 1, bytes };
  });
}

function dword(value: number): Uint8Array {
  return Uint8Array.from([0, 8, 16, 24], (shift) => (value >>> shift) & 0xff);
}
