/**
 * `registers()`: the registers of an emulated device as a table that reads like its specification,
 * and the one place where odd accesses are split and merged. Little-endian, as PCI is.
 *
 * A handler sees its register whole, once per access. A read may be split in any way and gives the
 * same bytes. A write that covers part of a register reaches the handler merged with what a read
 * gives, together with the mask of the bytes really written.
 */

import assert from "node:assert/strict";

/** A register of 1, 2 or 4 bytes. */
export interface RegisterHandlers<Device> {
  /** Absent: reads as zero. */
  read?(device: Device): number;
  /**
   * Absent: writes are dropped.
   *
   * @param mask the bits really written. A register whose bits are cleared by writing 1 must not
   *     look at the others, which hold what a read gave.
   */
  write?(device: Device, value: number, mask: number): void;
}

/** A register of 8 bytes. */
export interface WideRegisterHandlers<Device> {
  read64?(device: Device): bigint;
  write64?(device: Device, value: bigint, mask: bigint): void;
}

/** One row: name, width in bytes, handlers. Without handlers the width is free: reserved space. */
export type RegisterRow<Device> =
  | readonly [name: string, width: 1 | 2 | 4, handlers: RegisterHandlers<Device>]
  | readonly [name: string, width: 8, handlers: WideRegisterHandlers<Device>]
  | readonly [name: string, width: number];

/** The registers of one kind of device. Lengths are 1, 2 or 4 bytes; 8 has its own methods. */
export interface RegisterTable<Device> {
  readonly name: string;
  readonly size: number;
  /** @returns the bytes as a little-endian number; what lies outside the table reads as zero */
  read(device: Device, offset: number, length: number): number;
  read64(device: Device, offset: number): bigint;
  write(device: Device, offset: number, length: number, value: number): void;
  write64(device: Device, offset: number, value: bigint): void;
  /** The offset of a register, for tests and messages. */
  offsetOf(register: string): number;
  /** The name of the register that holds the byte at `offset`, for messages. */
  nameAt(offset: number): string | undefined;
}

interface Register<Device> {
  readonly name: string;
  readonly offset: number;
  readonly width: number;
  /** `undefined`: reserved. */
  readonly read: ((device: Device) => bigint) | undefined;
  readonly write: ((device: Device, value: bigint, mask: bigint) => void) | undefined;
  /** The handlers without the detour over bigint, for an access of the register's own width. */
  readonly whole: RegisterHandlers<Device> | undefined;
}

/**
 * Declares a register table.
 *
 * @param size all of it in bytes, the sum of the widths
 * @throws {AssertionError} when the widths do not add up to `size`, or a register is not at a
 *     multiple of its width
 */
export function registers<Device>(
  name: string,
  size: number,
  rows: ReadonlyArray<RegisterRow<Device>>,
): RegisterTable<Device> {
  return new Table(name, size, rows);
}

class Table<Device> implements RegisterTable<Device> {
  readonly name: string;
  readonly size: number;
  /** For every byte, the register that it belongs to. */
  readonly #byByte: Array<Register<Device>> = [];

  constructor(name: string, size: number, rows: ReadonlyArray<RegisterRow<Device>>) {
    this.name = name;
    this.size = size;
    const names = new Set<string>();
    for (const row of rows) {
      const register = place(row, this.#byByte.length);
      const { width, offset } = register;
      const isReserved = row.length === 2;
      assert(isReserved || offset % width === 0, `${name}: ${row[0]} is not aligned`);
      assert(isReserved || !names.has(row[0]), `${name}: two registers are called ${row[0]}`);
      names.add(row[0]);
      for (let byte = 0; byte < width; byte++) this.#byByte.push(register);
    }
    assert.equal(this.#byByte.length, size, `${name}: the widths do not add up`);
  }

  read(device: Device, offset: number, length: number): number {
    const register = this.#byByte[offset];
    if (register?.whole && register.offset === offset && register.width === length) {
      return (register.whole.read?.(device) ?? 0) >>> 0;
    }
    return Number(this.#read(device, offset, length));
  }

  read64(device: Device, offset: number): bigint {
    return this.#read(device, offset, 8);
  }

  write(device: Device, offset: number, length: number, value: number): void {
    const register = this.#byByte[offset];
    if (register?.whole && register.offset === offset && register.width === length) {
      register.whole.write?.(device, value >>> 0, ones(length));
      return;
    }
    this.#write(device, offset, length, BigInt(value >>> 0));
  }

  write64(device: Device, offset: number, value: bigint): void {
    this.#write(device, offset, 8, value);
  }

  offsetOf(register: string): number {
    const offset = this.#byByte.findIndex(({ name }) => name === register);
    assert(offset >= 0, `${this.name} has no register ${register}`);
    return offset;
  }

  nameAt(offset: number): string | undefined {
    return this.#byByte[offset]?.name;
  }

  #read(device: Device, offset: number, length: number): bigint {
    let result = 0n;
    for (const { register, at, skip, count } of this.#touched(offset, length)) {
      const value = register.read?.(device) ?? 0n;
      const part = (value >> BigInt(skip * 8)) & onesWide(count);
      result |= part << BigInt(at * 8);
    }
    return result;
  }

  #write(device: Device, offset: number, length: number, value: bigint): void {
    for (const { register, at, skip, count } of this.#touched(offset, length)) {
      if (!register.write) continue;
      const mask = onesWide(count) << BigInt(skip * 8);
      const part = ((value >> BigInt(at * 8)) << BigInt(skip * 8)) & mask;
      const isWhole = count === register.width;
      const old = isWhole ? 0n : (register.read?.(device) ?? 0n);
      register.write(device, (old & ~mask) | part, mask);
    }
  }

  /** The registers under an access, each once: from which byte of it, and how many bytes. */
  *#touched(
    offset: number,
    length: number,
  ): Iterable<{ register: Register<Device>; at: number; skip: number; count: number }> {
    let at = 0;
    while (at < length) {
      const register = this.#byByte[offset + at];
      if (!register) return;
      const skip = offset + at - register.offset;
      const count = Math.min(register.width - skip, length - at);
      yield { register, at, skip, count };
      at += count;
    }
  }
}

function place<Device>(row: RegisterRow<Device>, offset: number): Register<Device> {
  const [name, width, handlers] = row;
  const register = { name, offset, width, read: undefined, write: undefined, whole: undefined };
  if (!handlers) return register;
  if (width === 8) {
    const { read64, write64 } = handlers as WideRegisterHandlers<Device>;
    return { ...register, read: read64?.bind(handlers), write: write64?.bind(handlers) };
  }
  const whole = handlers as RegisterHandlers<Device>;
  return {
    ...register,
    whole,
    read: whole.read && ((device) => BigInt((whole.read?.(device) ?? 0) >>> 0)),
    write:
      whole.write && ((device, value, mask) => whole.write?.(device, Number(value), Number(mask))),
  };
}

function ones(length: number): number {
  return 2 ** (length * 8) - 1;
}

function onesWide(length: number): bigint {
  return (1n << BigInt(length * 8)) - 1n;
}
