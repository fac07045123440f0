/**
 * Base address registers of one function: what a guest reads back when it sizes them, and where
 * each BAR's region is mapped. PCI Local Bus 3.0 section 6.2.5.
 *
 * A BAR is mapped only when all of this holds: the COMMAND bit of its kind is on, the address is
 * not 0 and does not wrap, a 32-bit BAR ends below 4 GiB - 1, a ROM's own enable bit is on, and the
 * function is in D0.
 */

import * as pci from "../abi/pci-regs.ts";
import { hex } from "../memory/address.ts";
import type { MemoryRegion } from "../memory/region.ts";
import { ViaductError } from "../sys/sys-error.ts";
import type { PciBus } from "./bus.ts";
import type { ConfigSpace } from "./config-space.ts";

/** The ROM BAR's index, after BAR0 to BAR5. */
export const ROM_BAR = 6;
const BAR_COUNT = 7;
/** A normal BAR's place among regions at the same address. */
export const BAR_PRIORITY = 1;

export type BarKind = "io" | "mem32" | "mem64";

export interface BarOptions {
  readonly kind: BarKind;
  readonly prefetchable?: boolean;
  /** What the guest sizes; a power of two. The region's size when absent. */
  readonly size?: bigint;
}

export interface Bar {
  readonly index: number;
  readonly region: MemoryRegion;
  readonly kind: BarKind;
  readonly size: bigint;
  /** Offset of the register. */
  readonly register: number;
  /** Type bits that the register always reads. */
  readonly typeBits: number;
}

interface Placed extends Bar {
  address: bigint | undefined;
  priority: number;
}

/** What the BARs need to know of their function. */
export interface BarOwner {
  readonly name: string;
  readonly config: ConfigSpace;
  readonly bus: PciBus;
  /** False outside D0 or without slot power: nothing is decoded. */
  readonly decodes: boolean;
}

export class Bars {
  readonly #owner: BarOwner;
  readonly #bars: Array<Placed | undefined> = new Array(BAR_COUNT).fill(undefined);

  constructor(owner: BarOwner) {
    this.#owner = owner;
  }

  /**
   * Makes `region` what BAR `index` decodes, unmapped until the guest places it. Sub-regions may be
   * put above it inside the region; its later growth does not change what the guest sizes.
   *
   * @throws {ViaductError} DEVICE_UNSUPPORTED for a size that no BAR can express
   */
  register(index: number, region: MemoryRegion, options: BarOptions): void {
    const { config, name } = this.#owner;
    const size = options.size ?? region.size;
    const smallest = options.kind === "io" ? 4n : 16n;
    if (size < smallest || (size & (size - 1n)) !== 0n) {
      throw new ViaductError(
        "DEVICE_UNSUPPORTED",
        `${name}: Cannot make BAR ${index} of ${hex(size)} bytes: ` +
          `not a power of two from ${smallest}`,
      );
    }
    const register = this.#registerOf(index);
    const rom = index === ROM_BAR;
    const typeBits = rom ? 0 : typeBitsOf(options);
    const wide = options.kind === "mem64";
    const mask = BigInt.asUintN(64, -size) | (rom ? BigInt(pci.PCI_ROM_ADDRESS_ENABLE) : 0n);
    config.write(register, 4, typeBits);
    config.setMask(config.wmask, register, 4, Number(BigInt.asUintN(32, mask)));
    config.setMask(config.cmask, register, 4, 0xffffffff);
    if (wide) {
      config.write(register + 4, 4, 0);
      config.setMask(config.wmask, register + 4, 4, Number(mask >> 32n));
      config.setMask(config.cmask, register + 4, 4, 0xffffffff);
    }
    this.#bars[index] = {
      index,
      region,
      kind: options.kind,
      size,
      register,
      typeBits,
      address: undefined,
      priority: BAR_PRIORITY,
    };
  }

  get(index: number): Bar | undefined {
    return this.#bars[index];
  }

  /** Where the BAR is mapped now. */
  address(index: number): bigint | undefined {
    return this.#bars[index]?.address;
  }

  /** Compares every BAR's register with where it is mapped, and moves what differs at once. */
  update(): void {
    const moves = this.#bars.filter(
      (bar): bar is Placed => bar !== undefined && this.#wanted(bar) !== bar.address,
    );
    if (moves.length === 0) return;
    this.#owner.bus.root.transaction(() => {
      for (const bar of moves) this.#unplace(bar);
      for (const bar of moves) this.#place(bar, this.#wanted(bar));
    });
  }

  /** 0 makes a BAR lose against others at the same address (a sub-page BAR grown to a page). */
  setPriority(index: number, priority: number): void {
    const bar = this.#bars[index];
    if (!bar || bar.priority === priority) return;
    bar.priority = priority;
    this.#owner.bus.root.transaction(() => {
      const { address } = bar;
      this.#unplace(bar);
      this.#place(bar, address);
    });
  }

  /** Writes the type bits back into every register, so that the next `update` unmaps all. */
  clearRegisters(): void {
    for (const bar of this.#bars) {
      if (!bar) continue;
      this.#owner.config.write(bar.register, 4, bar.typeBits);
      if (bar.kind === "mem64") this.#owner.config.write(bar.register + 4, 4, 0);
    }
  }

  unmapAll(): void {
    this.#owner.bus.root.transaction(() => {
      for (const bar of this.#bars) if (bar) this.#unplace(bar);
    });
  }

  #place(bar: Placed, address: bigint | undefined): void {
    if (address !== undefined) this.#container(bar).add(bar.region, address, bar.priority);
    bar.address = address;
  }

  #unplace(bar: Placed): void {
    if (bar.address !== undefined) this.#container(bar).remove(bar.region);
    bar.address = undefined;
  }

  #container(bar: Bar): MemoryRegion {
    return bar.kind === "io" ? this.#owner.bus.io : this.#owner.bus.memory;
  }

  #registerOf(index: number): number {
    if (index !== ROM_BAR) return pci.PCI_BASE_ADDRESS_0 + 4 * index;
    const { config } = this.#owner;
    const type = config.bytes[pci.PCI_HEADER_TYPE]! & pci.PCI_HEADER_TYPE_MASK;
    return type === pci.PCI_HEADER_TYPE_BRIDGE ? pci.PCI_ROM_ADDRESS1 : pci.PCI_ROM_ADDRESS;
  }

  /** Where the registers say the BAR belongs; undefined = nowhere. */
  #wanted(bar: Bar): bigint | undefined {
    const { config, decodes } = this.#owner;
    const command = config.read(pci.PCI_COMMAND, 2);
    const bit = bar.kind === "io" ? pci.PCI_COMMAND_IO : pci.PCI_COMMAND_MEMORY;
    if (!decodes || (command & bit) === 0) return undefined;
    const low = config.read(bar.register, 4);
    if (bar.index === ROM_BAR && (low & pci.PCI_ROM_ADDRESS_ENABLE) === 0) return undefined;
    const high = bar.kind === "mem64" ? config.read(bar.register + 4, 4) : 0;
    const address = ((BigInt(high) << 32n) | BigInt(low)) & ~(bar.size - 1n);
    const last = address + bar.size - 1n;
    const limit = bar.kind === "mem64" ? 0xffff_ffff_ffff_ffffn : 0xffff_ffffn;
    return address === 0n || last >= limit ? undefined : address;
  }
}

function typeBitsOf({ kind, prefetchable = false }: BarOptions): number {
  if (kind === "io") return pci.PCI_BASE_ADDRESS_SPACE_IO;
  const width = kind === "mem64" ? pci.PCI_BASE_ADDRESS_MEM_TYPE_64 : 0;
  return width | (prefetchable ? pci.PCI_BASE_ADDRESS_MEM_PREFETCH : 0);
}
