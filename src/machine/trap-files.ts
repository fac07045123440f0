/**
 * TrapFiles: the table that lets a vCPU's thread make trapped accesses to a device by itself: which
 * guest addresses are a file (`MemoryRegion.file`), and where in it. The main thread keeps it equal
 * to an address space; `TrapFileReader` is a thread's side.
 *
 * Safety: a thread marks itself busy, then looks at the version; the main thread makes the version
 * odd, then waits until nobody is busy, before it changes an entry or lets a file be closed. So no
 * thread uses an entry that is being changed, nor a descriptor that may mean something else.
 */

import type { AccessGateReader } from "../memory/access-gates.ts";
import type { AddressSpace, Section } from "../memory/address-space.ts";
import type { Syscalls } from "../sys/syscalls.ts";

/*
 *    0  words: [0] version, odd during a change  [1] entries  [2..] busy, by vCPU
 * 4096  entries of five doubles: first address, end, place in the file of the first, fd, gate
 */
const VERSION = 0;
const COUNT = 1;
const BUSY = 2;
const VCPUS_MAX = 1022;
const ENTRIES_OFFSET = 4096;
const ENTRIES_MAX = 128;
const ENTRY = { FIRST: 0, END: 1, PLACE: 2, FD: 3, GATE: 4, LENGTH: 5 } as const;

/** A thread is busy for one system call; it is looked at again after this. */
const BUSY_WAIT_MS = 1;

/** The main thread's side. */
export class TrapFiles implements Disposable {
  readonly buffer = new SharedArrayBuffer(ENTRIES_OFFSET + 8 * ENTRY.LENGTH * ENTRIES_MAX);
  readonly #words = new Int32Array(this.buffer, 0, BUSY + VCPUS_MAX);
  readonly #entries = new Float64Array(this.buffer, ENTRIES_OFFSET);
  readonly #sections = new Set<Section>();
  readonly #following: Disposable;
  #dirty = false;

  /** Follows `space` until disposed. */
  constructor(space: AddressSpace) {
    this.#following = space.listen({
      priority: 0,
      // The files of removed sections may be closed once the removal was shown.
      remove: (section) => void (this.#sections.delete(section) && this.#publish()),
      add: (section) => {
        if (section.region.file === undefined) return;
        this.#sections.add(section);
        this.#dirty = true;
      },
      commit: () => {
        if (this.#dirty) this.#publish();
      },
    });
  }

  [Symbol.dispose](): void {
    this.#following[Symbol.dispose]();
  }

  #publish(): void {
    this.#dirty = false;
    Atomics.add(this.#words, VERSION, 1);
    for (let vcpu = 0; vcpu < VCPUS_MAX; vcpu++) {
      while (Atomics.load(this.#words, BUSY + vcpu) !== 0) {
        Atomics.wait(this.#words, BUSY + vcpu, 1, BUSY_WAIT_MS);
      }
    }
    let count = 0;
    for (const { region, address, size, offsetInRegion } of this.#sections) {
      // What does not fit, and what lies where a number is not exact, is the main thread's.
      if (count === ENTRIES_MAX || address + size > BigInt(Number.MAX_SAFE_INTEGER)) continue;
      const { fd, offset, gate } = region.file!;
      const place = offset + Number(offsetInRegion);
      const entry = [Number(address), Number(address + size), place, fd, gate];
      this.#entries.set(entry, ENTRY.LENGTH * count);
      count += 1;
    }
    this.#words[COUNT] = count;
    Atomics.add(this.#words, VERSION, 1);
  }
}

/** A thread's side. One per thread: it keeps scratch memory. */
export class TrapFileReader {
  readonly #words: Int32Array;
  readonly #entries: Float64Array;
  readonly #gates: AccessGateReader;
  readonly #sys: Pick<Syscalls, "pread" | "pwrite">;
  readonly #busy: number;
  /** By size: a transfer is exactly as many bytes. */
  readonly #bytes = [0, 1, 2, 4].map((size) => new Uint8Array(size));

  /** @param vcpu of the thread, 0 and up */
  constructor(
    buffer: SharedArrayBuffer,
    gates: AccessGateReader,
    sys: Pick<Syscalls, "pread" | "pwrite">,
    vcpu: number,
  ) {
    this.#words = new Int32Array(buffer, 0, BUSY + VCPUS_MAX);
    this.#entries = new Float64Array(buffer, ENTRIES_OFFSET);
    this.#gates = gates;
    this.#sys = sys;
    this.#busy = BUSY + Math.min(vcpu, VCPUS_MAX);
  }

  /** @returns undefined = forward: no file, a closed gate, or a device that did not answer */
  read(address: number, size: 1 | 2 | 4): number | undefined {
    if (!this.#enter()) return undefined;
    const bytes = this.#bytes[size === 4 ? 3 : size]!;
    const at = this.#find(address, size);
    const place = at < 0 ? 0 : this.#placeOf(at, address);
    const done = at >= 0 && this.#sys.pread(this.#fdOf(at), bytes, place) === size;
    this.#leave();
    if (!done) return undefined;
    // Little-endian on the bus, whatever the host is.
    if (size === 1) return bytes[0]!;
    const low = bytes[0]! | (bytes[1]! << 8);
    return size === 2 ? low : (low | (bytes[2]! << 16) | (bytes[3]! << 24)) >>> 0;
  }

  /** @returns false = forward; a write that failed is made again there, and reported */
  write(address: number, size: 1 | 2 | 4, value: number): boolean {
    if (!this.#enter()) return false;
    const bytes = this.#bytes[size === 4 ? 3 : size]!;
    for (let i = 0; i < size; i++) bytes[i] = value >>> (8 * i);
    const at = this.#find(address, size);
    const place = at < 0 ? 0 : this.#placeOf(at, address);
    const done = at >= 0 && this.#sys.pwrite(this.#fdOf(at), bytes, place) === size;
    this.#leave();
    return done;
  }

  #enter(): boolean {
    const words = this.#words;
    if (this.#words[COUNT] === 0 || this.#busy === BUSY + VCPUS_MAX) return false;
    Atomics.store(words, this.#busy, 1);
    if ((Atomics.load(words, VERSION) & 1) === 0) return true;
    this.#leave();
    return false;
  }

  #leave(): void {
    Atomics.store(this.#words, this.#busy, 0);
    if ((Atomics.load(this.#words, VERSION) & 1) !== 0) Atomics.notify(this.#words, this.#busy);
  }

  /** The entry that holds all of an access and whose gate is open, else -1. */
  #find(address: number, size: number): number {
    const entries = this.#entries;
    const end = ENTRY.LENGTH * this.#words[COUNT]!;
    for (let at = 0; at < end; at += ENTRY.LENGTH) {
      if (address < entries[at + ENTRY.FIRST]! || address + size > entries[at + ENTRY.END]!)
        continue;
      return this.#gates.isOpen(entries[at + ENTRY.GATE]!) ? at : -1;
    }
    return -1;
  }

  #fdOf(at: number): number {
    return this.#entries[at + ENTRY.FD]!;
  }

  #placeOf(at: number, address: number): number {
    return this.#entries[at + ENTRY.PLACE]! + address - this.#entries[at + ENTRY.FIRST]!;
  }
}
