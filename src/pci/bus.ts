/**
 * PciBus: up to 32 slots of 8 functions, the containers in which their BARs are mapped, and the way
 * up to the root. Containers use absolute addresses; a bridge shows windows of them to its own bus
 * (bridge.ts).
 */

import { MemoryRegion } from "../memory/region.ts";
import { ViaductError } from "../sys/sys-error.ts";
import type { ConfigSpace } from "./config-space.ts";
import type { PciFunction } from "./function.ts";
import type { IntxLines } from "./intx.ts";
import type { PciPlatform } from "./platform.ts";
import type { SharedConfig } from "./shared-config.ts";

/** `slot` 0 to 31, `fn` 0 to 7, as `devfn` has them. */
export const devfnOf = (slot: number, fn = 0): number => (slot << 3) | fn;
export const slotOf = (devfn: number): number => devfn >> 3;
export const functionOf = (devfn: number): number => devfn & 7;

/** `slot[.function]`, both hexadecimal and with or without 0x, as devfn; undefined for other text. */
export function parseDevfn(text: string): number | undefined {
  const match = /^(?:0x)?([\da-f]{1,2})(?:\.(?:0x)?([0-7]))?$/i.exec(text);
  const slot = Number.parseInt(match?.[1] ?? "", 16);
  return slot < 32 ? devfnOf(slot, Number(match?.[2] ?? 0)) : undefined;
}

/** What stands at the top of the hierarchy: root-complex.ts. */
export interface PciRoot {
  readonly platform: PciPlatform;
  readonly intx: IntxLines;
  readonly sharedConfig: SharedConfig;
  /**
   * Runs `change` so that address spaces show its net effect once. What the host refuses of it is
   * reported, not thrown: the guest chose where its BARs lie.
   */
  transaction(change: () => void): void;
  /** A function came or went, or a bus number, reset or power state changed. */
  topologyChanged(): void;
}

/** What a bus asks of the bridge above it. */
export interface UpstreamBridge {
  readonly bus: PciBus;
  readonly devfn: number;
  readonly config: ConfigSpace;
  /** A PCI Express port: link partner is device 0. */
  readonly isPort: boolean;
  /** False while the guest holds the secondary bus in reset, or the slot has no power. */
  readonly forwards: boolean;
  /** The bus number that a guest gave the secondary bus. */
  readonly secondary: number;
  /** The last bus number below it. */
  readonly subordinate: number;
  childAttached(fn: PciFunction, how: Plug): void;
  childDetached(fn: PciFunction): void;
}

/** `hot`: while the guest runs, and it is to be told. */
export type Plug = "cold" | "hot";

export interface PciBusOptions {
  readonly name: string;
  readonly root: PciRoot;
  readonly isExpress: boolean;
  /** Absent on a root bus. */
  readonly parent?: UpstreamBridge;
  /** Containers with absolute addresses; made when absent. */
  readonly memory?: MemoryRegion;
  readonly io?: MemoryRegion;
}

export class PciBus {
  readonly name: string;
  readonly root: PciRoot;
  readonly isExpress: boolean;
  readonly parent: UpstreamBridge | undefined;
  readonly memory: MemoryRegion;
  readonly io: MemoryRegion;
  readonly #functions = new Map<number, PciFunction>();

  constructor(options: PciBusOptions) {
    this.name = options.name;
    this.root = options.root;
    this.isExpress = options.isExpress;
    this.parent = options.parent;
    this.memory = options.memory ?? new MemoryRegion(`${this.name} memory`, "container", 1n << 64n);
    this.io = options.io ?? new MemoryRegion(`${this.name} io`, "container", 1n << 16n);
  }

  get isRoot(): boolean {
    return this.parent === undefined;
  }

  /** The bus number in use now; 0 for the root bus and before a guest numbers a bridge. */
  get number(): number {
    return this.parent?.secondary ?? 0;
  }

  /** Attached functions, ascending by devfn. */
  get functions(): PciFunction[] {
    return [...this.#functions.values()].sort((a, b) => a.devfn - b.devfn);
  }

  get(devfn: number): PciFunction | undefined {
    return this.#functions.get(devfn);
  }

  /** The first slot without any function: below a port only slot 0 exists. */
  freeSlot(): number | undefined {
    const slots = this.parent?.isPort ? 1 : 32;
    for (let slot = 0; slot < slots; slot++) {
      if (![...this.#functions.keys()].some((devfn) => slotOf(devfn) === slot)) return slot;
    }
    return undefined;
  }

  /**
   * Makes `fn`, which was made for this bus, visible to the guest at its devfn.
   *
   * @throws {ViaductError} PROPERTY when the place is taken or does not exist
   */
  attach(fn: PciFunction, how: Plug = "cold"): void {
    const at = `slot ${slotOf(fn.devfn)} function ${functionOf(fn.devfn)} of ${this.name}`;
    const taken = this.#functions.get(fn.devfn);
    if (taken) {
      throw new ViaductError("PROPERTY", `${fn.name}: Cannot use ${at}: ${taken.name} is there`, {
        nextStep: "Choose another addr, or leave it out for the next free slot.",
      });
    }
    if (this.parent?.isPort && slotOf(fn.devfn) !== 0) {
      throw new ViaductError("PROPERTY", `${fn.name}: Cannot use ${at}: a port has slot 0 only`, {
        nextStep: "Leave addr out, or write addr=0.",
      });
    }
    const slot = slotOf(fn.devfn);
    const first = functionOf(fn.devfn) === 0 ? fn : this.#functions.get(devfnOf(slot));
    const others = [...this.#functions.keys()].some((devfn) => slotOf(devfn) === slot);
    if (others && first && !first.multifunction) {
      throw new ViaductError("PROPERTY", `${fn.name}: Cannot use ${at}: two functions share it`, {
        nextStep: `set multifunction=on for ${first.name}, or choose another addr`,
      });
    }
    this.#functions.set(fn.devfn, fn);
    this.root.topologyChanged();
    this.parent?.childAttached(fn, how);
  }

  /** Takes `fn` away at once: unmapped, its pin released. Nothing when it is not attached. */
  detach(fn: PciFunction): void {
    if (this.#functions.get(fn.devfn) !== fn) return;
    this.#functions.delete(fn.devfn);
    fn.bars.unmapAll();
    fn.intx.set(false);
    this.root.topologyChanged();
    this.parent?.childDetached(fn);
  }

  /** Resets every function below, bridges' children first. */
  reset(): void {
    for (const fn of this.functions) fn.reset();
  }

  /** Maps or unmaps all BARs below after a bridge above changed. */
  updateBars(): void {
    for (const fn of this.functions) {
      fn.bars.update();
      fn.secondaryBus?.updateBars();
    }
  }

  /** False where some bridge above holds this bus in reset or without power. */
  get reachable(): boolean {
    return this.parent === undefined || (this.parent.forwards && this.parent.bus.reachable);
  }
}
