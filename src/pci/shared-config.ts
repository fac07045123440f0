/**
 * The table that lets a vCPU's thread answer config reads without leaving it: one SharedArrayBuffer
 * with the CF8 latch, an index from bus/device/function to slot, and the slots (config-space.ts
 * says what is in one). `SharedConfig` is the main thread's side and the only writer but for the
 * latch; `SharedConfigReader` is a thread's side.
 *
 * Safety: both the index and each slot carry a version that is odd during a change. A reader that
 * sees an odd or a changed version tries again and then gives up, and who gives up forwards the
 * access to the main thread, which is always right. A reader may `pread` a file that has just been
 * closed and its number given to another; it then throws the bytes away, because the index has
 * changed. Writes always go to the main thread. A thread that posts writes must have posted ones
 * applied before it reads.
 */

import type { Syscalls } from "../sys/syscalls.ts";
import {
  allOnes,
  type ConfigMemory,
  mergedRead,
  readLittleEndian,
  SHARED_BYTES,
  SHARED_EMU_MASK,
  SHARED_HEADER,
  SHARED_WORDS,
} from "./config-space.ts";

/*
 *      0  words: [0] index version, [1] CF8 latch
 *     64  index: u16 per bus/device/function: 0 absent, FORWARD ask the main thread, else slot + 1
 * 131136  slots of SHARED_BYTES
 */
const INDEX_VERSION = 0;
const CONFIG_ADDRESS = 1;
const INDEX_OFFSET = 64;
const INDEX_LENGTH = 65536;
const SLOTS_OFFSET = INDEX_OFFSET + 2 * INDEX_LENGTH;
const SLOT_COUNT = 256;
const ABSENT = 0;
const FORWARD = 0xffff;
const ATTEMPTS = 3;

/** First of the eight ports of configuration mechanism #1 (PCI Local Bus 3.0 section 3.2.2.3.2). */
export const CONFIG_PORTS = 0xcf8;
const CONFIG_DATA = 4;
const CONFIG_ENABLE = 0x80000000;

/** What a config data port means while the latch holds `latch`; undefined = nothing selected. */
export function decodeConfigAddress(
  latch: number,
  port: number,
): { readonly bdf: number; readonly offset: number } | undefined {
  if ((latch & CONFIG_ENABLE) === 0) return undefined;
  return { bdf: (latch >>> 8) & 0xffff, offset: (latch & 0xfc) | (port & 3) };
}

/** Memory that is no slot: reads of it are forwarded to the main thread. */
export function privateConfigMemory(): ConfigMemory {
  return { buffer: new SharedArrayBuffer(SHARED_BYTES), byteOffset: 0 };
}

/** The main thread's side: gives slots out and keeps the index. */
export class SharedConfig {
  readonly buffer = new SharedArrayBuffer(SLOTS_OFFSET + SLOT_COUNT * SHARED_BYTES);
  readonly #words = new Int32Array(this.buffer, 0, 2);
  readonly #index = new Uint16Array(this.buffer, INDEX_OFFSET, INDEX_LENGTH);
  readonly #free = Array.from({ length: SLOT_COUNT }, (_, slot) => SLOT_COUNT - 1 - slot);

  /**
   * A place for a function's config space, owned by the caller until `free`. When all are given
   * out, memory of its own: its reads are then answered by the main thread.
   */
  allocate(): ConfigMemory {
    const slot = this.#free.pop();
    if (slot === undefined) return privateConfigMemory();
    return { buffer: this.buffer, byteOffset: SLOTS_OFFSET + slot * SHARED_BYTES };
  }

  /** Gives a place back. The function must be out of the index. */
  free(memory: ConfigMemory): void {
    if (memory.buffer !== this.buffer) return;
    const slot = (memory.byteOffset - SLOTS_OFFSET) / SHARED_BYTES;
    if (!this.#free.includes(slot)) this.#free.push(slot);
  }

  /** Replaces the index: what is not in `present` is absent. */
  publish(present: Iterable<readonly [bdf: number, memory: ConfigMemory]>): void {
    Atomics.add(this.#words, INDEX_VERSION, 1);
    this.#index.fill(ABSENT);
    for (const [bdf, memory] of present) {
      const inside = memory.buffer === this.buffer;
      this.#index[bdf] = inside ? (memory.byteOffset - SLOTS_OFFSET) / SHARED_BYTES + 1 : FORWARD;
    }
    Atomics.add(this.#words, INDEX_VERSION, 1);
  }

  get configAddress(): number {
    return Atomics.load(this.#words, CONFIG_ADDRESS) >>> 0;
  }

  set configAddress(value: number) {
    Atomics.store(this.#words, CONFIG_ADDRESS, value | 0);
  }
}

interface Slot {
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  readonly emuMask: Uint8Array;
}

/** A thread's side. One per thread: it keeps scratch memory. */
export class SharedConfigReader {
  readonly #buffer: SharedArrayBuffer;
  readonly #sys: Pick<Syscalls, "pread">;
  readonly #words: Int32Array;
  readonly #index: Uint16Array;
  readonly #slots: Slot[] = [];
  /** By length: a device read fills exactly as many bytes. */
  readonly #scratch = Array.from({ length: 5 }, (_, length) => new Uint8Array(length));
  #deviceAnswered = true;
  #slot: Slot | undefined;

  constructor(buffer: SharedArrayBuffer, sys: Pick<Syscalls, "pread">) {
    this.#buffer = buffer;
    this.#sys = sys;
    this.#words = new Int32Array(buffer, 0, 2);
    this.#index = new Uint16Array(buffer, INDEX_OFFSET, INDEX_LENGTH);
  }

  /** A read inside the ECAM window, by offset; undefined = forward it. */
  readEcam(offset: number, length: number): number | undefined {
    return this.read(offset >>> 12, offset & 0xfff, length);
  }

  /** A read of ports 0xcf8 to 0xcff; undefined = forward it. */
  readPort(port: number, length: number): number | undefined {
    const latch = Atomics.load(this.#words, CONFIG_ADDRESS) >>> 0;
    if (port < CONFIG_PORTS + CONFIG_DATA) {
      return port === CONFIG_PORTS && length === 4 ? latch : undefined;
    }
    const target = decodeConfigAddress(latch, port);
    return target ? this.read(target.bdf, target.offset, length) : allOnes(length);
  }

  /** A write of ports 0xcf8 to 0xcff. @returns false = forward it */
  writePort(port: number, length: number, value: number): boolean {
    if (port !== CONFIG_PORTS || length !== 4) return false;
    Atomics.store(this.#words, CONFIG_ADDRESS, value | 0);
    return true;
  }

  /** A config read of 1, 2 or 4 bytes; undefined = forward it. */
  read(bdf: number, offset: number, length: number): number | undefined {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const indexVersion = Atomics.load(this.#words, INDEX_VERSION);
      const entry = Atomics.load(this.#index, bdf & 0xffff);
      if ((indexVersion & 1) !== 0) continue;
      if (entry === FORWARD) return undefined;
      const value = entry === ABSENT ? allOnes(length) : this.#readSlot(entry - 1, offset, length);
      if (value === undefined) return undefined;
      if (value >= 0 && Atomics.load(this.#words, INDEX_VERSION) === indexVersion) return value;
    }
    return undefined;
  }

  /** @returns undefined = forward; -1 = the slot changed, try again */
  #readSlot(number: number, offset: number, length: number): number | undefined {
    const slot = this.#slotAt(number);
    const version = Atomics.load(slot.words, SHARED_WORDS.VERSION);
    if ((version & 1) !== 0) return -1;
    const size = slot.words[SHARED_WORDS.SIZE]!;
    // The main thread merges what lies across the end.
    if (offset + length > size) return offset >= size ? allOnes(length) : undefined;
    this.#deviceAnswered = true;
    this.#slot = slot;
    const value = mergedRead(slot, offset, length, this.#readDevice);
    if (!this.#deviceAnswered) return undefined;
    return Atomics.load(slot.words, SHARED_WORDS.VERSION) === version ? value : -1;
  }

  readonly #readDevice = (offset: number, length: number): number => {
    const words = this.#slot!.words;
    const fd = words[SHARED_WORDS.FD]!;
    const low = words[SHARED_WORDS.FD_OFFSET_LOW]! >>> 0;
    const start = words[SHARED_WORDS.FD_OFFSET_HIGH]! * 2 ** 32 + low;
    const into = this.#scratch[length]!;
    // A failed read is the main thread's to answer: it logs.
    this.#deviceAnswered = fd >= 0 && this.#sys.pread(fd, into, start + offset) === length;
    return this.#deviceAnswered ? readLittleEndian(into, 0, length) : 0;
  };

  #slotAt(number: number): Slot {
    const known = this.#slots[number];
    if (known) return known;
    const at = SLOTS_OFFSET + number * SHARED_BYTES;
    const slot = {
      words: new Int32Array(this.#buffer, at, SHARED_HEADER / 4),
      bytes: new Uint8Array(this.#buffer, at + SHARED_HEADER, 4096),
      emuMask: new Uint8Array(this.#buffer, at + SHARED_EMU_MASK, 4096),
    };
    this.#slots[number] = slot;
    return slot;
  }
}
