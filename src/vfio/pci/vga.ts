/**
 * Legacy VGA ranges of a graphics device (`x-vga`, spec/pci.md section 13): memory 0xa0000 and I/O
 * 0x3b0 and 0x3c0 at their fixed places, one access to the VGA region each.
 */

import { PCI_COMMAND, PCI_COMMAND_IO, PCI_COMMAND_MEMORY } from "../../abi/pci-regs.ts";
import { allOnes } from "../../layout/bits.ts";
import { hex } from "../../memory/address.ts";
import { type IoHandler, MemoryRegion } from "../../memory/region.ts";
import { readLittleEndian } from "../../pci/config-space.ts";
import type { RegionInfo } from "../device.ts";
import { rateLimited } from "../report.ts";
import * as trace from "./trace.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";

/** The ports that all VGA cards have. */
const PORTS = 0x3c0;

const RANGES = [
  { kind: "memory", address: 0xa0000, size: 0x20000, command: PCI_COMMAND_MEMORY },
  { kind: "io", address: 0x3b0, size: 0xc, command: PCI_COMMAND_IO },
  { kind: "io", address: PORTS, size: 0x20, command: PCI_COMMAND_IO },
] as const;

/** Above other VGA devices of the bus. */
const VGA_PRIORITY = 1;
/** Of a quirk, above the range it lies in. */
const TRAP_PRIORITY = 1;

export class LegacyVga implements Disposable {
  readonly #fn: VfioPciFunction;
  readonly #info: RegionInfo;
  readonly #slices = [0, 1, 2, 3, 4].map((size) => new Uint8Array(size));
  readonly #report: (message: string) => void;
  readonly #ranges: Array<{ region: MemoryRegion; parent: MemoryRegion; command: number }>;

  constructor(fn: VfioPciFunction, info: RegionInfo) {
    this.#fn = fn;
    this.#info = info;
    this.#report = rateLimited(fn.report);
    this.#ranges = RANGES.map(({ kind, address, size, command }) => {
      const name = `${fn.name} VGA ${hex(address)}`;
      const handler = this.#handler(address);
      const region = new MemoryRegion(name, "io", BigInt(size), { handler, owner: fn });
      region.setEnabled(false);
      const parent = kind === "io" ? fn.bus.io : fn.bus.memory;
      parent.add(region, BigInt(address), VGA_PRIORITY);
      return { region, parent, command };
    });
    this.update();
  }

  /** Memory follows COMMAND.MEM, ports follow COMMAND.IO. */
  update(): void {
    const command = this.#fn.config.read(PCI_COMMAND, 2);
    this.#fn.bus.root.transaction(() => {
      for (const range of this.#ranges) range.region.setEnabled((command & range.command) !== 0);
    });
  }

  /** Lays a quirk's trap over `size` ports from `port` on; it goes with the ranges. */
  layTrap(port: number, size: number, handler: IoHandler): void {
    const at = RANGES.findIndex(({ kind, address }) => kind === "io" && address === PORTS);
    const name = `${this.#fn.name} VGA quirk ${hex(port)}`;
    const trap = new MemoryRegion(name, "io", BigInt(size), { handler, owner: this.#fn });
    this.#ranges[at]!.region.add(trap, BigInt(port - PORTS), TRAP_PRIORITY);
  }

  /** Takes the ranges off the bus. Idempotent. */
  [Symbol.dispose](): void {
    for (const { region, parent } of this.#ranges.splice(0)) parent.remove(region);
  }

  #handler(address: number): IoHandler {
    return {
      read: (offset, size) => {
        const data = this.read(address + offset, size);
        const point = trace.vfio_vga_read;
        if (point.enabled) point.emit({ addr: address + offset, size, data });
        return data;
      },
      write: (offset, size, value) => {
        this.write(address + offset, size, value);
        const point = trace.vfio_vga_write;
        if (point.enabled) point.emit({ addr: address + offset, data: value, size });
      },
    };
  }

  /** One access to the device; what cannot be read is all ones. */
  read(address: number, size: number): number {
    const slice = this.#slices[size]!;
    const result = this.#fn.device.readRegion(this.#info, address, slice);
    if (result === size) return readLittleEndian(slice, 0, size);
    this.#report(`${this.#fn.name}: VGA read of ${size} bytes at ${hex(address)} failed`);
    return allOnes(size);
  }

  write(address: number, size: number, value: number): void {
    const slice = this.#slices[size]!;
    for (let i = 0; i < size; i++) slice[i] = value >>> (8 * i);
    if (this.#fn.device.writeRegion(this.#info, address, slice) === size) return;
    this.#report(`${this.#fn.name}: VGA write of ${size} bytes at ${hex(address)} failed`);
  }
}
