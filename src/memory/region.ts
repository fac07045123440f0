/**
 * MemoryRegion: a named piece of guest-physical (or port) address space, and the tree such pieces
 * form. A region is RAM, ROM, device memory mapped from a host fd (`ram-device`: a BAR), trapped
 * (`io`), or a pure container. Regions overlap by priority, as PCI BARs do; `AddressSpace`
 * (address-space.ts) flattens the tree and tells its listeners what changed.
 */

import type { Address } from "../sys/syscalls.ts";

/**
 * A trapped region's behaviour. Offsets are relative to the region; accesses are 1, 2 or 4 bytes,
 * naturally aligned or not as the guest made them; an 8-byte access is split into two of 4, low
 * half first, unless the 64-bit pair is there. Never throws: a guest's access is input.
 */
export interface IoHandler {
  read(offset: number, size: 1 | 2 | 4): number;
  write(offset: number, size: 1 | 2 | 4, value: number): void;
  read64?(offset: number): bigint;
  write64?(offset: number, value: bigint): void;
}

/** Where RAM-like memory lives in this process. `fd`/`fdOffset` let it be shared with another. */
export interface HostMemory {
  readonly hva: Address;
  readonly fd?: number;
  readonly fdOffset?: number;
}

/**
 * A file that a trapped region stands for: while `gate` is open, an access is one pread or pwrite
 * of its size, and whoever makes that need not ask the handler.
 */
export interface TrapFile {
  readonly fd: number;
  /** Of the region's first byte. */
  readonly offset: number;
  /** `AccessGate.index` */
  readonly gate: number;
}

export type RegionKind = "container" | "ram" | "rom" | "ram-device" | "io";

interface Placed {
  readonly region: MemoryRegion;
  readonly offset: bigint;
  readonly priority: number;
}

/** Told when a tree that contains this region changes; set by AddressSpace on its root. */
export type TreeChanged = () => void;

export class MemoryRegion {
  readonly name: string;
  readonly kind: RegionKind;
  /**
   * Answers trapped accesses. RAM-like regions may have one too: it takes the accesses that no
   * memory slot can serve (a BAR smaller than a page, a write to ROM).
   */
  readonly handler: IoHandler | undefined;
  readonly memory: HostMemory | undefined;
  readonly file: TrapFile | undefined;
  /** Who it belongs to, for messages and for the dirty-range rules (a PCI function, a TPM). */
  readonly owner: object | undefined;
  /** Private to a confidential guest: never mapped for DMA. */
  readonly protected: boolean;
  #size: bigint;
  #enabled = true;
  #placed: Placed[] = [];
  #parents = new Set<MemoryRegion>();
  #changed = new Set<TreeChanged>();

  constructor(
    name: string,
    kind: RegionKind,
    size: bigint,
    options: {
      handler?: IoHandler;
      memory?: HostMemory;
      file?: TrapFile | undefined;
      owner?: object;
      protected?: boolean;
    } = {},
  ) {
    this.name = name;
    this.kind = kind;
    this.#size = size;
    this.handler = options.handler;
    this.memory = options.memory;
    this.file = options.file;
    this.owner = options.owner;
    this.protected = options.protected ?? false;
  }

  get size(): bigint {
    return this.#size;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  /** Children, highest priority first; among equals the one placed last is on top. */
  get placed(): readonly Placed[] {
    return this.#placed;
  }

  /** Puts `region` at `offset` of this one. A higher priority hides a lower one. */
  add(region: MemoryRegion, offset: bigint, priority = 0): void {
    const at = this.#placed.findIndex((other) => other.priority <= priority);
    const placed = { region, offset, priority };
    if (at < 0) this.#placed.push(placed);
    else this.#placed.splice(at, 0, placed);
    region.#parents.add(this);
    this.#notify();
  }

  remove(region: MemoryRegion): void {
    this.#placed = this.#placed.filter((placed) => placed.region !== region);
    region.#parents.delete(this);
    this.#notify();
  }

  setEnabled(enabled: boolean): void {
    if (this.#enabled === enabled) return;
    this.#enabled = enabled;
    this.#notify();
  }

  setSize(size: bigint): void {
    if (this.#size === size) return;
    this.#size = size;
    this.#notify();
  }

  /** Calls `changed` after every change below this region, until the result is disposed. */
  onChange(changed: TreeChanged): Disposable {
    this.#changed.add(changed);
    return { [Symbol.dispose]: () => void this.#changed.delete(changed) };
  }

  #notify(): void {
    for (const changed of this.#changed) changed();
    for (const parent of this.#parents) parent.#notify();
  }
}
