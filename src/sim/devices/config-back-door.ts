/**
 * A BAR that shows the device's own config space behind an address and a data register, as graphics
 * cards have it (spec/pci-quirks.md 2.1). Other registers of the BAR are plain.
 */

import type { SoftwarePciDevice } from "../pci-device.ts";
import type { BarBehaviour } from "../pci-spec.ts";

export interface ConfigBackDoor {
  readonly address: number;
  readonly data: number;
  /** What an address has outside `mask` to select config space. */
  readonly match: number;
  readonly mask: number;
}

export function configBackDoor(device: SoftwarePciDevice, door: ConfigBackDoor): BarBehaviour {
  const registers = new Uint8Array(256);
  // The device's own view has the host's addresses, whatever the kernel shows a guest.
  const config = device.config.slice();
  const selected = () => {
    const address = load(registers, door.address, 4);
    return (address & ~door.mask) >>> 0 === door.match ? address & door.mask : undefined;
  };
  return {
    read: (offset, size) => {
      const at = offset === door.data ? selected() : undefined;
      if (at !== undefined) return load(config, at, size);
      return load(registers, offset, size);
    },
    write: (offset, size, value) => {
      for (let i = 0; i < size; i++) registers[offset + i] = value >>> (8 * i);
    },
  };
}

function load(bytes: Uint8Array, offset: number, size: number): number {
  return bytes.subarray(offset, offset + size).reduceRight((sum, byte) => sum * 256 + byte, 0);
}
