/**
 * AddressSpace: the flat view of a region tree, and the listeners that follow it (KVM memory slots,
 * VFIO DMA maps, the vCPUs' trap table). Changes are applied at the end of the outermost
 * transaction, so that a BAR that moves is one removal and one addition.
 */

import type { Gpa } from "./address.ts";
import type { MemoryRegion } from "./region.ts";

/** One flattened piece: it lies in exactly one region, contiguously. */
export interface Section {
  readonly region: MemoryRegion;
  readonly offsetInRegion: bigint;
  readonly address: Gpa;
  readonly size: bigint;
  readonly readOnly: boolean;
}

/**
 * Follows an address space. Per commit: `begin`, all removals (highest address first), all
 * additions (lowest first), `commit`. Registration replays the present sections as additions.
 */
export interface MemoryListener {
  /** Lower priorities see additions first and removals last. */
  readonly priority: number;
  begin?(): void;
  remove(section: Section): void;
  add(section: Section): void;
  commit?(): void;
}

export interface AddressSpace {
  readonly name: string;
  readonly root: MemoryRegion;
  /** Present sections, ascending, not overlapping. */
  readonly sections: readonly Section[];
  /** The section that answers at `address`, if any. */
  find(address: bigint): Section | undefined;
  /** Registers a listener and replays; disposing replays the present sections as removals. */
  listen(listener: MemoryListener): Disposable;
  /** Runs `change`; listeners see its net effect once, at the end of the outermost transaction. */
  transaction<T>(change: () => T): T;
  /** A read as the CPU or a device makes it: 1, 2, 4 or 8 bytes; nothing there reads all ones. */
  read(address: bigint, size: 1 | 2 | 4 | 8): bigint;
  write(address: bigint, size: 1 | 2 | 4 | 8, value: bigint): void;
}
