/**
 * Mmio: the only way to touch memory that a device, a guest or another thread also touches. Every
 * method is exactly one access of its width. `DataView` and `Buffer` accessors are not: V8
 * assembles them from byte accesses until the caller is optimised, so a register would see four
 * writes of a byte, and a ring index would tear (measured; docs/decisions/0003).
 *
 * Reads are `Atomics.load`, which is never removed or merged. Writes are a plain element store on
 * x86-64 (one `mov`; `Atomics.store` would be a locked exchange that also reads the register) and
 * `Atomics.store` elsewhere, for its ordering. Values are little-endian, as PCI is.
 */

import assert from "node:assert/strict";
import { endianness } from "node:os";

const PLAIN_STORES = process.arch === "x64";
const BIG_ENDIAN = endianness() === "BE";

const swap16 = (value: number): number => ((value & 0xff) << 8) | ((value >>> 8) & 0xff);
const swap32 = (value: number): number =>
  ((swap16(value & 0xffff) << 16) | swap16(value >>> 16)) >>> 0;
const swap64 = (value: bigint): bigint =>
  (BigInt(swap32(Number(value & 0xffffffffn))) << 32n) | BigInt(swap32(Number(value >> 32n)));

export class Mmio {
  readonly #u8: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  readonly #u64: BigUint64Array;
  readonly length: number;

  /**
   * @param buffer of a mapping (`Mapping`) or a SharedArrayBuffer; page-aligned memory
   * @param byteOffset a multiple of 8
   */
  constructor(buffer: ArrayBuffer | SharedArrayBuffer, byteOffset = 0, length?: number) {
    assert(byteOffset % 8 === 0, "Mmio starts at a multiple of 8");
    const bytes = length ?? buffer.byteLength - byteOffset;
    this.length = bytes;
    this.#u8 = new Uint8Array(buffer, byteOffset, bytes);
    this.#u16 = new Uint16Array(buffer, byteOffset, bytes >>> 1);
    this.#u32 = new Uint32Array(buffer, byteOffset, Math.floor(bytes / 4));
    this.#u64 = new BigUint64Array(buffer, byteOffset, Math.floor(bytes / 8));
  }

  read8(offset: number): number {
    return Atomics.load(this.#u8, offset);
  }

  /** @param offset in bytes, naturally aligned. @throws {RangeError} outside, or unaligned */
  read16(offset: number): number {
    const value = Atomics.load(this.#u16, offset / 2);
    return BIG_ENDIAN ? swap16(value) : value;
  }

  read32(offset: number): number {
    const value = Atomics.load(this.#u32, offset / 4);
    return BIG_ENDIAN ? swap32(value) : value;
  }

  read64(offset: number): bigint {
    const value = Atomics.load(this.#u64, offset / 8);
    return BIG_ENDIAN ? swap64(value) : value;
  }

  write8(offset: number, value: number): void {
    this.#checkOffset(offset, 1);
    if (PLAIN_STORES) this.#u8[offset] = value;
    else Atomics.store(this.#u8, offset, value);
  }

  write16(offset: number, value: number): void {
    this.#checkOffset(offset, 2);
    const stored = BIG_ENDIAN ? swap16(value) : value;
    if (PLAIN_STORES) this.#u16[offset / 2] = stored;
    else Atomics.store(this.#u16, offset / 2, stored);
  }

  write32(offset: number, value: number): void {
    this.#checkOffset(offset, 4);
    const stored = BIG_ENDIAN ? swap32(value) : value;
    if (PLAIN_STORES) this.#u32[offset / 4] = stored;
    else Atomics.store(this.#u32, offset / 4, stored);
  }

  write64(offset: number, value: bigint): void {
    this.#checkOffset(offset, 8);
    const stored = BIG_ENDIAN ? swap64(value) : value;
    if (PLAIN_STORES) this.#u64[offset / 8] = stored;
    else Atomics.store(this.#u64, offset / 8, stored);
  }

  /** Copies plain memory out (no register has side effects on this path: RAM, a ROM image). */
  copyOut(offset: number, into: Uint8Array): void {
    into.set(this.#u8.subarray(offset, offset + into.length));
  }

  /** Copies into plain memory. @throws {RangeError} when it does not fit */
  copyIn(offset: number, from: Uint8Array): void {
    this.#u8.set(from, offset);
  }

  /** A plain store outside a typed array is ignored silently, so it is refused here. */
  #checkOffset(offset: number, width: number): void {
    if (offset % width !== 0 || offset < 0 || offset + width > this.length) {
      throw new RangeError(`MMIO write of ${width} bytes at ${offset} of ${this.length}`);
    }
  }
}
