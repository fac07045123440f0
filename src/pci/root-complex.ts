/**
 * RootComplex: the PCI Express host bridge. Its root bus is bus 0 with the host bridge itself
 * (1b36:0008) at 00:00.0; guests reach config space through ECAM (PCI Express Base 5.0 section
 * 7.2.2) and through ports 0xcf8 to 0xcff.
 */

import * as pci from "../abi/pci-regs.ts";
import type { IoHandler, MemoryRegion } from "../memory/region.ts";
import { SysError, ViaductError } from "../sys/sys-error.ts";
import { PciBus, type PciRoot } from "./bus.ts";
import { allOnes, type ConfigMemory } from "./config-space.ts";
import { PciFunction } from "./function.ts";
import { IntxLines } from "./intx.ts";
import type { PciPlatform } from "./platform.ts";
import { decodeConfigAddress, SharedConfig } from "./shared-config.ts";

export const VENDOR_REDHAT = 0x1b36;
const DEVICE_HOST_BRIDGE = 0x0008;
const CLASS_BRIDGE_HOST = 0x0600;

/** 256 buses of 32 slots of 8 functions of 4096 bytes. */
export const ECAM_SIZE = 256 * 2 ** 20;

export interface RootComplexOptions {
  readonly platform: PciPlatform;
  /** Containers with absolute addresses in which BARs appear; made when absent. */
  readonly memory?: MemoryRegion;
  readonly io?: MemoryRegion;
  /** Groups changes of both address spaces; at once when absent. */
  readonly transaction?: (change: () => void) => void;
  /**
   * Told when a listener of an address space refused what a guest's BARs ask for (an address that
   * KVM does not have, no slot left). The BAR stays trapped. Dropped when absent.
   */
  readonly mapFailed?: (error: SysError | ViaductError) => void;
}

interface Identity {
  readonly vendor: number;
  readonly device: number;
  /** Class and subclass, the word at 0x0a. */
  readonly classCode: number;
}

/** Fills the identification words of an emulated function. */
export function identify(fn: PciFunction, { vendor, device, classCode }: Identity): void {
  fn.config.write(pci.PCI_VENDOR_ID, 2, vendor);
  fn.config.write(pci.PCI_DEVICE_ID, 2, device);
  fn.config.write(pci.PCI_CLASS_DEVICE, 2, classCode);
}

export class RootComplex implements PciRoot, Disposable {
  readonly platform: PciPlatform;
  readonly intx: IntxLines;
  readonly sharedConfig = new SharedConfig();
  readonly bus: PciBus;
  readonly hostBridge: PciFunction;
  /** The ECAM window's behaviour; offsets count from its start. */
  readonly ecam: IoHandler;
  /** Ports 0xcf8 to 0xcff; offsets count from 0xcf8. */
  readonly configPorts: IoHandler;
  readonly #transaction: (change: () => void) => void;
  readonly #mapFailed: (error: SysError | ViaductError) => void;
  #present = new Map<number, PciFunction>();

  constructor(options: RootComplexOptions) {
    this.platform = options.platform;
    this.intx = new IntxLines(options.platform);
    this.#transaction = options.transaction ?? ((change) => change());
    this.#mapFailed = options.mapFailed ?? (() => {});
    this.bus = new PciBus({
      name: "pcie.0",
      root: this,
      isExpress: true,
      ...(options.memory && { memory: options.memory }),
      ...(options.io && { io: options.io }),
    });
    this.hostBridge = new PciFunction({ name: "host bridge", bus: this.bus, devfn: 0 });
    const classCode = CLASS_BRIDGE_HOST;
    identify(this.hostBridge, { vendor: VENDOR_REDHAT, device: DEVICE_HOST_BRIDGE, classCode });
    this.bus.attach(this.hostBridge);
    this.ecam = {
      read: (offset, size) => this.#readEcam(offset, size),
      write: (offset, size, value) => this.#writeEcam(offset, size, value),
    };
    this.configPorts = {
      read: (offset, size) => this.#readPort(offset, size),
      write: (offset, size, value) => this.#writePort(offset, size, value),
    };
  }

  transaction(change: () => void): void {
    try {
      this.#transaction(change);
    } catch (error) {
      if (!(error instanceof SysError || error instanceof ViaductError)) throw error;
      this.#mapFailed(error);
    }
  }

  /** The function that answers at a bus/device/function now. */
  find(bdf: number): PciFunction | undefined {
    return this.#present.get(bdf);
  }

  /** Every visible function by its bus/device/function. */
  get present(): ReadonlyMap<number, PciFunction> {
    return this.#present;
  }

  /** 1, 2 or 4 bytes; nothing there reads as ones. */
  readConfig(bdf: number, offset: number, length: number): number {
    return this.#present.get(bdf)?.readConfig(offset, length) ?? allOnes(length);
  }

  writeConfig(bdf: number, offset: number, length: number, value: number): void {
    this.#present.get(bdf)?.writeConfig(offset, length, value);
  }

  topologyChanged(): void {
    const present = new Map<number, PciFunction>();
    const taken = new Set<number>();
    const visit = (bus: PciBus, number: number, last: number): void => {
      taken.add(number);
      const bridges: PciBus[] = [];
      for (const fn of bus.functions) {
        present.set((number << 8) | fn.devfn, fn);
        const below = fn.secondaryBus;
        if (below?.parent?.forwards) bridges.push(below);
      }
      // A bridge claims the buses from its secondary to its subordinate number, inside what the
      // bridge above claims; of two that claim the same, the first has it.
      for (const below of bridges) {
        const { secondary, subordinate } = below.parent!;
        const claimed = secondary > number && secondary <= last && secondary <= subordinate;
        if (claimed && !taken.has(secondary)) visit(below, secondary, Math.min(last, subordinate));
      }
    };
    visit(this.bus, 0, 255);
    this.#present = present;
    const slots: Array<readonly [number, ConfigMemory]> = [];
    for (const [bdf, fn] of present) slots.push([bdf, fn.config.memory]);
    this.sharedConfig.publish(slots);
  }

  /** Puts every function into its state after power-on. */
  reset(): void {
    this.sharedConfig.configAddress = 0;
    this.transaction(() => this.bus.reset());
  }

  [Symbol.dispose](): void {
    for (const fn of this.bus.functions.reverse()) fn[Symbol.dispose]();
    this.intx[Symbol.dispose]();
  }

  #readEcam(offset: number, size: number): number {
    const register = offset & 0xfff;
    if (register + size <= 0x1000) return this.readConfig(offset >>> 12, register, size);
    // Across the end of a function: as the bytes, each from where it is.
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#readEcam(offset + i, 1) << (8 * i);
    return value >>> 0;
  }

  #writeEcam(offset: number, size: number, value: number): void {
    const register = offset & 0xfff;
    if (register + size <= 0x1000) this.writeConfig(offset >>> 12, register, size, value);
    else for (let i = 0; i < size; i++) this.#writeEcam(offset + i, 1, (value >>> (8 * i)) & 0xff);
  }

  #readPort(offset: number, size: number): number {
    const latch = this.sharedConfig.configAddress;
    if (offset < 4) return offset === 0 && size === 4 ? latch : allOnes(size);
    const target = decodeConfigAddress(latch, offset);
    return target ? this.readConfig(target.bdf, target.offset, size) : allOnes(size);
  }

  #writePort(offset: number, size: number, value: number): void {
    if (offset === 0 && size === 4) this.sharedConfig.configAddress = value;
    if (offset < 4) return;
    const target = decodeConfigAddress(this.sharedConfig.configAddress, offset);
    if (target) this.writeConfig(target.bdf, target.offset, size, value);
  }
}
