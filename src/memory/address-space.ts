/**
 * AddressSpace: the flat view of a region tree, and the listeners that follow it (KVM memory slots,
 * VFIO DMA maps, the vCPUs' trap table). Changes are applied at the end of the outermost
 * transaction, so that a BAR that moves is one removal and one addition.
 */

import type { Gpa } from "./address.ts";
import { firstEndingAfter, flatten, sameSection } from "./flat-view.ts";
import { type AccessSize, readSection, writeSection } from "./io-dispatch.ts";
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
  read(address: bigint, size: AccessSize): bigint;
  write(address: bigint, size: AccessSize, value: bigint): void;
}

/** An address space over the tree below `root`, whose own place is address 0. */
export function createAddressSpace(name: string, root: MemoryRegion): AddressSpace & Disposable {
  return new FlatAddressSpace(name, root);
}

class FlatAddressSpace implements AddressSpace, Disposable {
  readonly name: string;
  readonly root: MemoryRegion;
  readonly #treeChanges: Disposable;
  /** Ascending priority: additions in this order, removals in the opposite one. */
  #listeners: MemoryListener[] = [];
  #sections: readonly Section[];
  /** The section of the last access: a guest that polls one register searches once. */
  #lastFound: Section | undefined;
  #depth = 0;
  #changed = false;

  constructor(name: string, root: MemoryRegion) {
    this.name = name;
    this.root = root;
    this.#sections = flatten(root);
    this.#treeChanges = root.onChange(() => {
      this.#changed = true;
      if (this.#depth === 0) this.#commit();
    });
  }

  get sections(): readonly Section[] {
    return this.#sections;
  }

  find(address: bigint): Section | undefined {
    const last = this.#lastFound;
    if (last !== undefined && contains(last, address)) return last;
    const found = this.#sections[firstEndingAfter(this.#sections, address)];
    if (found === undefined || !contains(found, address)) return undefined;
    this.#lastFound = found;
    return found;
  }

  /** @throws what the listener throws while it is shown the present sections; they are undone */
  listen(listener: MemoryListener): Disposable {
    listener.begin?.();
    let shown = 0;
    try {
      for (const section of this.#sections) {
        listener.add(section);
        shown += 1;
      }
      listener.commit?.();
    } catch (error) {
      this.#withdraw(listener, this.#sections.slice(0, shown));
      throw error;
    }
    this.#listeners.push(listener);
    this.#listeners.sort((a, b) => a.priority - b.priority);
    return {
      [Symbol.dispose]: () => {
        if (!this.#listeners.includes(listener)) return;
        this.#listeners = this.#listeners.filter((other) => other !== listener);
        this.#withdraw(listener, this.#sections);
      },
    };
  }

  transaction<T>(change: () => T): T {
    this.#depth += 1;
    try {
      return change();
    } finally {
      this.#depth -= 1;
      if (this.#depth === 0 && this.#changed) this.#commit();
    }
  }

  read(address: bigint, size: AccessSize): bigint {
    const section = this.find(address);
    if (section !== undefined && reaches(section, address, size)) {
      return readSection(section, address, size);
    }
    let value = 0n;
    for (const piece of this.#split(address, size)) {
      const bits = readSection(piece.section, piece.address, piece.size);
      value |= bits << (8n * (piece.address - address));
    }
    return value;
  }

  write(address: bigint, size: AccessSize, value: bigint): void {
    const section = this.find(address);
    if (section !== undefined && reaches(section, address, size)) {
      writeSection(section, address, size, value);
      return;
    }
    for (const piece of this.#split(address, size)) {
      const bits = value >> (8n * (piece.address - address));
      writeSection(piece.section, piece.address, piece.size, BigInt.asUintN(piece.size * 8, bits));
    }
  }

  /** Stops following the tree. Listeners are their registrants' to dispose, before this. */
  [Symbol.dispose](): void {
    this.#treeChanges[Symbol.dispose]();
  }

  /**
   * Shows listeners the difference between the view they know and the present one. A listener may
   * change the tree, so the comparison is repeated until nothing changed; one that throws does not
   * keep the others from seeing the change, and its first error is thrown at the end.
   */
  #commit(): void {
    const failures: unknown[] = [];
    this.#depth += 1;
    for (; this.#changed; ) {
      this.#changed = false;
      this.#showDifference(failures);
    }
    this.#depth -= 1;
    if (failures.length > 0) throw failures[0];
  }

  #showDifference(failures: unknown[]): void {
    const { view, removed, added } = difference(this.#sections, flatten(this.root));
    this.#sections = view;
    this.#lastFound = undefined;
    if (removed.length === 0 && added.length === 0) return;
    const attempt = (act: () => void) => {
      try {
        act();
      } catch (error) {
        failures.push(error);
      }
    };
    const listeners = [...this.#listeners];
    for (const listener of listeners) attempt(() => listener.begin?.());
    for (const listener of listeners.toReversed()) {
      for (const section of removed.toReversed()) attempt(() => listener.remove(section));
    }
    for (const listener of listeners) {
      for (const section of added) attempt(() => listener.add(section));
    }
    for (const listener of listeners) attempt(() => listener.commit?.());
  }

  #withdraw(listener: MemoryListener, sections: readonly Section[]): void {
    listener.begin?.();
    for (const section of sections.toReversed()) listener.remove(section);
    listener.commit?.();
  }

  /**
   * The pieces of an access that does not lie in one section: powers of two, naturally aligned,
   * each in one section or in none.
   */
  #split(address: bigint, size: number): Piece[] {
    const pieces: Piece[] = [];
    const end = address + BigInt(size);
    for (let cursor = address; cursor < end; ) {
      // Nothing lies beyond the last address; it does not go on at 0.
      const section = cursor >> 64n === 0n ? this.find(cursor) : undefined;
      let width: AccessSize = 4;
      while (
        width > 1 &&
        (cursor % BigInt(width) !== 0n || cursor + BigInt(width) > end || this.#cuts(cursor, width))
      ) {
        width = (width / 2) as AccessSize;
      }
      pieces.push({ section, address: cursor, size: width });
      cursor += BigInt(width);
    }
    return pieces;
  }

  /** Whether a section begins or ends inside the access. */
  #cuts(address: bigint, size: AccessSize): boolean {
    const next = this.#sections[firstEndingAfter(this.#sections, address)];
    if (next === undefined) return false;
    const end = address + BigInt(size);
    if (next.address > address) return next.address < end;
    return next.address + next.size < end;
  }
}

interface Piece {
  readonly section: Section | undefined;
  readonly address: bigint;
  readonly size: AccessSize;
}

function contains(section: Section, address: bigint): boolean {
  return address >= section.address && address < section.address + section.size;
}

function reaches(section: Section, address: bigint, size: number): boolean {
  return address + BigInt(size) <= section.address + section.size;
}

/** `view` is the new one, in which what stayed keeps the object that listeners know. */
function difference(
  old: readonly Section[],
  fresh: readonly Section[],
): { view: Section[]; removed: Section[]; added: Section[] } {
  const known = new Map<bigint, Section>(old.map((section) => [section.address, section]));
  const added: Section[] = [];
  const view = fresh.map((section) => {
    const before = known.get(section.address);
    if (before !== undefined && sameSection(before, section)) {
      known.delete(section.address);
      return before;
    }
    added.push(section);
    return section;
  });
  const removed = old.filter((section) => known.get(section.address) === section);
  return { view, removed, added };
}
