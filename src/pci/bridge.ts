/**
 * PciBridge: a function with a type 1 header and a bus behind it. PCI-to-PCI Bridge Architecture
 * 1.2 chapter 3. Its windows show parts of the secondary bus's address containers to the primary
 * bus; its bus numbers say which config accesses it passes on. The VGA enable bits can be set and
 * do nothing.
 */

import * as pci from "../abi/pci-regs.ts";
import { MemoryRegion } from "../memory/region.ts";
import { PciBus, type Plug, type UpstreamBridge } from "./bus.ts";
import { PciFunction, type PciFunctionOptions } from "./function.ts";

const CLASS_BRIDGE_PCI = 0x0604;
const WINDOW_PRIORITY = 1;

export interface PciBridgeOptions extends PciFunctionOptions {
  /** Name of the bus behind. */
  readonly secondaryName: string;
  readonly secondaryIsExpress: boolean;
  readonly isPort: boolean;
}

/** Both ends are in it; empty where `last` lies below `base`. */
export interface AddressRange {
  readonly base: bigint;
  readonly last: bigint;
}

/** A part of the secondary bus's addresses that the primary bus sees. */
class Window {
  readonly #region: MemoryRegion;
  readonly #outer: MemoryRegion;
  readonly #inner: MemoryRegion;
  #base: bigint | undefined;

  constructor(name: string, outer: MemoryRegion, inner: MemoryRegion) {
    this.#region = new MemoryRegion(name, "container", 0n);
    this.#outer = outer;
    this.#inner = inner;
  }

  /** Shows [base, last] at the same addresses; nothing when `last` lies below `base`. */
  show(base: bigint, last: bigint): void {
    const open = last >= base;
    const size = open ? last - base + 1n : 0n;
    if (open ? base === this.#base && size === this.#region.size : this.#base === undefined) return;
    if (this.#base !== undefined) {
      this.#outer.remove(this.#region);
      this.#region.remove(this.#inner);
    }
    this.#base = open ? base : undefined;
    if (!open) return;
    this.#region.setSize(size);
    this.#region.add(this.#inner, -base);
    this.#outer.add(this.#region, base, WINDOW_PRIORITY);
  }
}

export class PciBridge extends PciFunction implements UpstreamBridge {
  readonly isPort: boolean;
  readonly #secondaryBus: PciBus;
  readonly #windows: { readonly io: Window; readonly memory: Window; readonly prefetch: Window };

  constructor(options: PciBridgeOptions) {
    super(options);
    this.isPort = options.isPort;
    this.#secondaryBus = new PciBus({
      name: options.secondaryName,
      root: this.bus.root,
      isExpress: options.secondaryIsExpress,
      parent: this,
    });
    const { name, bus } = this;
    const inner = this.#secondaryBus;
    this.#windows = {
      io: new Window(`${name} io window`, bus.io, inner.io),
      memory: new Window(`${name} memory window`, bus.memory, inner.memory),
      prefetch: new Window(`${name} prefetchable window`, bus.memory, inner.memory),
    };
    const { config } = this;
    config.bytes[pci.PCI_HEADER_TYPE]! |= pci.PCI_HEADER_TYPE_BRIDGE;
    config.write(pci.PCI_CLASS_DEVICE, 2, CLASS_BRIDGE_PCI);
    setBridgeMasks(this);
    closeWindows(this);
  }

  override get secondaryBus(): PciBus {
    return this.#secondaryBus;
  }

  get secondary(): number {
    return this.config.bytes[pci.PCI_SECONDARY_BUS]!;
  }

  get subordinate(): number {
    return this.config.bytes[pci.PCI_SUBORDINATE_BUS]!;
  }

  get forwards(): boolean {
    const control = this.config.read(pci.PCI_BRIDGE_CONTROL, 2);
    return (control & pci.PCI_BRIDGE_CTL_BUS_RESET) === 0;
  }

  /** What the window registers say, whether or not the bridge decodes. */
  get windowRanges(): { io: AddressRange; memory: AddressRange; prefetch: AddressRange } {
    const { config } = this;
    const word = (offset: number) => BigInt(config.read(offset, 2));
    const upper = (offset: number) => BigInt(config.read(offset, 4)) << 32n;
    const ioAddress = (offset: number) => (BigInt(config.bytes[offset]!) & 0xf0n) << 8n;
    const address = (offset: number) => (word(offset) & 0xfff0n) << 16n;
    return {
      io: { base: ioAddress(pci.PCI_IO_BASE), last: ioAddress(pci.PCI_IO_LIMIT) | 0xfffn },
      memory: {
        base: address(pci.PCI_MEMORY_BASE),
        last: address(pci.PCI_MEMORY_LIMIT) | 0xfffffn,
      },
      prefetch: {
        base: upper(pci.PCI_PREF_BASE_UPPER32) | address(pci.PCI_PREF_MEMORY_BASE),
        last: upper(pci.PCI_PREF_LIMIT_UPPER32) | address(pci.PCI_PREF_MEMORY_LIMIT) | 0xfffffn,
      },
    };
  }

  override applyConfigWrite(offset: number, length: number, value: number): void {
    const numbersBefore = this.config.read(pci.PCI_PRIMARY_BUS, 4);
    const forwardsBefore = this.forwards;
    super.applyConfigWrite(offset, length, value);
    this.bus.root.transaction(() => this.#updateWindows());
    if (forwardsBefore && !this.forwards) this.#secondaryBus.reset();
    if (forwardsBefore !== this.forwards) this.forwardingChanged();
    else if (numbersBefore !== this.config.read(pci.PCI_PRIMARY_BUS, 4)) {
      this.bus.root.topologyChanged();
    }
  }

  childAttached(_fn: PciFunction, _how: Plug): void {}

  childDetached(_fn: PciFunction): void {}

  /** Bus numbers 0, windows shut, and every function below reset. */
  override reset(): void {
    this.#secondaryBus.reset();
    super.reset();
    this.config.write(pci.PCI_PRIMARY_BUS, 4, 0);
    this.config.write(pci.PCI_BRIDGE_CONTROL, 2, 0);
    closeWindows(this);
    this.bus.root.transaction(() => this.#updateWindows());
    this.bus.root.topologyChanged();
  }

  override [Symbol.dispose](): void {
    for (const fn of this.#secondaryBus.functions.reverse()) fn[Symbol.dispose]();
    closeWindows(this);
    this.bus.root.transaction(() => this.#updateWindows());
    super[Symbol.dispose]();
  }

  /** After `forwards` changed: functions below appear or vanish, and so do their BARs. */
  protected forwardingChanged(): void {
    this.bus.root.transaction(() => this.#secondaryBus.updateBars());
    this.bus.root.topologyChanged();
  }

  #updateWindows(): void {
    const command = this.config.read(pci.PCI_COMMAND, 2);
    const decodes = this.decodes;
    const show = (window: Window, enable: number, { base, last }: AddressRange) => {
      const on = decodes && (command & enable) !== 0;
      window.show(on ? base : 1n, on ? last : 0n);
    };
    const { io, memory, prefetch } = this.windowRanges;
    show(this.#windows.io, pci.PCI_COMMAND_IO, io);
    show(this.#windows.memory, pci.PCI_COMMAND_MEMORY, memory);
    show(this.#windows.prefetch, pci.PCI_COMMAND_MEMORY, prefetch);
  }
}

const BRIDGE_CONTROL_WRITABLE =
  pci.PCI_BRIDGE_CTL_PARITY |
  pci.PCI_BRIDGE_CTL_SERR |
  pci.PCI_BRIDGE_CTL_ISA |
  pci.PCI_BRIDGE_CTL_VGA |
  pci.PCI_BRIDGE_CTL_MASTER_ABORT |
  pci.PCI_BRIDGE_CTL_BUS_RESET |
  pci.PCI_BRIDGE_CTL_FAST_BACK;

/** 16-bit I/O window, 64-bit prefetchable window. */
function setBridgeMasks({ config }: PciFunction): void {
  const { wmask, cmask } = config;
  wmask.fill(0xff, pci.PCI_PRIMARY_BUS, pci.PCI_PRIMARY_BUS + 4);
  wmask.fill(0xf0, pci.PCI_IO_BASE, pci.PCI_IO_LIMIT + 1);
  for (let at = pci.PCI_MEMORY_BASE; at < pci.PCI_PREF_BASE_UPPER32; at += 2) {
    config.setMask(wmask, at, 2, 0xfff0);
  }
  wmask.fill(0xff, pci.PCI_PREF_BASE_UPPER32, pci.PCI_PREF_LIMIT_UPPER32 + 4);
  config.setMask(wmask, pci.PCI_BRIDGE_CONTROL, 2, BRIDGE_CONTROL_WRITABLE);
  config.setMask(config.w1cmask, pci.PCI_SEC_STATUS, 2, 0xf900);
  for (const at of [pci.PCI_IO_BASE, pci.PCI_IO_LIMIT]) cmask[at] = pci.PCI_IO_RANGE_TYPE_MASK;
  for (const at of [pci.PCI_PREF_MEMORY_BASE, pci.PCI_PREF_MEMORY_LIMIT]) {
    config.bytes[at] = pci.PCI_PREF_RANGE_TYPE_64;
    cmask[at] = pci.PCI_PREF_RANGE_TYPE_MASK;
  }
}

/** Bases above limits: what a bridge has after power-on here, so that nothing is passed on. */
function closeWindows({ config }: PciFunction): void {
  config.write(pci.PCI_IO_BASE, 2, 0x00f0);
  config.write(pci.PCI_MEMORY_BASE, 4, 0x0000fff0);
  config.write(pci.PCI_PREF_MEMORY_BASE, 2, 0xfff0 | pci.PCI_PREF_RANGE_TYPE_64);
  config.write(pci.PCI_PREF_MEMORY_LIMIT, 2, pci.PCI_PREF_RANGE_TYPE_64);
  config.write(pci.PCI_PREF_BASE_UPPER32, 4, 0xffffffff);
  config.write(pci.PCI_PREF_LIMIT_UPPER32, 4, 0);
}
