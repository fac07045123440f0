/**
 * Bits and alignment: mask fields of registers, power-of-two rounding, flag names for messages.
 * Results of 32-bit operations are unsigned.
 */

/** The number of zero bits below the lowest one of `mask`; 32 for 0. */
export function trailingZeros(mask: number): number {
  return mask === 0 ? 32 : 31 - Math.clz32(mask & -mask);
}

/** The field of `value` that `mask` selects, moved down to bit 0. */
export function getField(value: number, mask: number): number {
  return (value & mask) >>> trailingZeros(mask);
}

/**
 * `value` with the field that `mask` selects replaced by `field`.
 *
 * @throws {RangeError} when `field` is wider than the mask
 */
export function setField(value: number, mask: number, field: number): number {
  const shifted = (field << trailingZeros(mask)) >>> 0;
  if (getField(shifted, mask) !== field || (shifted & ~mask) !== 0) {
    throw new RangeError(`0x${field.toString(16)} does not fit mask 0x${mask.toString(16)}`);
  }
  return ((value & ~mask) | shifted) >>> 0;
}

/** All ones in the low `size` bytes, `size` 1 to 4: what a read of nothing gives. */
export function allOnes(size: number): number {
  return size >= 4 ? 0xffff_ffff : 2 ** (size * 8) - 1;
}

export function isPowerOfTwo(value: number | bigint): boolean {
  const wide = BigInt(value);
  return wide > 0n && (wide & (wide - 1n)) === 0n;
}

/** The next multiple of `to` (a power of two) at or below `value`. */
export function alignDown(value: bigint, to: bigint): bigint;
export function alignDown(value: number, to: number): number;
export function alignDown(value: bigint | number, to: bigint | number): bigint | number {
  if (typeof value === "bigint") return value & -BigInt(to);
  return value - (value % (to as number));
}

/** The next multiple of `to` (a power of two) at or above `value`. */
export function alignUp(value: bigint, to: bigint): bigint;
export function alignUp(value: number, to: number): number;
export function alignUp(value: bigint | number, to: bigint | number): bigint | number {
  if (typeof value === "bigint") return (value + BigInt(to) - 1n) & -BigInt(to);
  return Math.ceil(value / (to as number)) * (to as number);
}

/**
 * The names of the set bits, for messages: `flagNames(3, { READ: 1, WRITE: 2 })` is
 * `["READ", "WRITE"]`. Bits without a name come last, together, in hexadecimal.
 */
export function flagNames(value: number, flags: Readonly<Record<string, number>>): string[] {
  const named = Object.entries(flags).filter(([, bit]) => bit !== 0 && (value & bit) === bit);
  const rest = named.reduce((left, [, bit]) => (left & ~bit) >>> 0, value >>> 0);
  const names = named.map(([name]) => name);
  return rest === 0 ? names : [...names, `0x${rest.toString(16)}`];
}
