/**
 * Little-endian byte strings, the raw material of ACPI tables and AML. Everything here makes a new
 * `Uint8Array`; nothing touches guest memory.
 */

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** `value` as `size` bytes, lowest first. */
export function le(value: number | bigint, size: 1 | 2 | 4 | 8): Uint8Array {
  const bytes = new Uint8Array(size);
  let rest = BigInt(value);
  for (let i = 0; i < size; i++) {
    bytes[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return bytes;
}

export const u8 = (value: number): Uint8Array => Uint8Array.of(value);
export const u16 = (value: number): Uint8Array => le(value, 2);
export const u32 = (value: number): Uint8Array => le(value, 4);
export const u64 = (value: number | bigint): Uint8Array => le(value, 8);

/** ASCII text padded with zeros (or `pad`) to exactly `size` bytes. */
export function text(value: string, size = value.length, pad = 0): Uint8Array {
  const bytes = new Uint8Array(size).fill(pad);
  for (let i = 0; i < Math.min(size, value.length); i++) bytes[i] = value.charCodeAt(i);
  return bytes;
}

/** The byte that makes a table's bytes add up to zero (ACPI 6.5, 5.2.6). */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (const byte of bytes) sum += byte;
  return -sum & 0xff;
}
