/**
 * A small AML encoder (ACPI 6.5, chapter 20). An AML term is its bytes, so a definition block is
 * written as nested calls that read like the ASL they stand for:
 *
 *   device("COM1", name("_HID", eisaId("PNP0501")), name("_UID", integer(1)))
 *
 * Resource descriptors are in resources.ts; the one block we build is dsdt.ts.
 */

import { concat, le, text, u8, u16, u32, u64 } from "./bytes.ts";

/** One encoded AML term. */
export type Term = Uint8Array;

/** Opcodes used here, section 20.3. */
const OP = {
  zero: 0x00,
  one: 0x01,
  name: 0x08,
  byte: 0x0a,
  word: 0x0b,
  dword: 0x0c,
  string: 0x0d,
  qword: 0x0e,
  scope: 0x10,
  buffer: 0x11,
  package: 0x12,
  method: 0x14,
  dualName: 0x2e,
  multiName: 0x2f,
  extended: 0x5b,
  device: 0x82,
  local0: 0x60,
  arg0: 0x68,
  store: 0x70,
  and: 0x7b,
  or: 0x7d,
  createDwordField: 0x8a,
  not: 0x92,
  equal: 0x93,
  if: 0xa0,
  else: 0xa1,
  return: 0xa4,
} as const;

/** PkgLength (20.2.4): counts itself and everything in the package. */
function packageLength(contentSize: number): Term {
  if (contentSize + 1 < 0x40) return u8(contentSize + 1);
  for (let extra = 1; extra <= 3; extra++) {
    const size = contentSize + 1 + extra;
    if (size >= 2 ** (4 + 8 * extra)) continue;
    const rest = le(size >> 4, 4).subarray(0, extra);
    return concat([u8((extra << 6) | (size & 0xf)), rest]);
  }
  throw new RangeError(`AML package of ${contentSize} bytes`);
}

function packaged(opcode: readonly number[], ...content: Term[]): Term {
  const body = concat(content);
  return concat([Uint8Array.from(opcode), packageLength(body.length), body]);
}

/** NameString (20.2.2): `\\_SB.PCI0`, `^FOO`, `_HID`; short segments are padded with `_`. */
export function path(nameString: string): Term {
  const [, prefix, rest] = /^(\\|\^*)(.*)$/.exec(nameString)!;
  const segments = rest === "" ? [] : rest!.split(".");
  const encoded = segments.map((segment) => text(segment, 4, 0x5f));
  let lead: Term = new Uint8Array(0);
  if (segments.length === 0) lead = u8(OP.zero);
  if (segments.length === 2) lead = u8(OP.dualName);
  if (segments.length > 2) lead = Uint8Array.of(OP.multiName, segments.length);
  return concat([text(prefix!), lead, ...encoded]);
}

export function integer(value: number | bigint): Term {
  const n = BigInt(value);
  if (n === 0n) return u8(OP.zero);
  if (n === 1n) return u8(OP.one);
  if (n < 0x100n) return Uint8Array.of(OP.byte, Number(n));
  if (n < 0x10000n) return concat([u8(OP.word), u16(Number(n))]);
  if (n < 0x1_0000_0000n) return concat([u8(OP.dword), u32(Number(n))]);
  return concat([u8(OP.qword), u64(n)]);
}

export const string = (value: string): Term => concat([u8(OP.string), text(value), u8(0)]);

/** EISAID (19.3.4): three letters of five bits and four hex digits, big-endian in a DWORD. */
export function eisaId(id: string): Term {
  const letter = (at: number) => id.charCodeAt(at) - 0x40;
  const high = (letter(0) << 10) | (letter(1) << 5) | letter(2);
  const low = Number.parseInt(id.slice(3), 16);
  return concat([u8(OP.dword), Uint8Array.of(high >> 8, high & 0xff, low >> 8, low & 0xff)]);
}

export function buffer(bytes: Uint8Array): Term {
  return packaged([OP.buffer], integer(bytes.length), bytes);
}

/** ToUUID (19.6.142): the first three fields are little-endian. */
export function uuid(value: string): Term {
  const hexDigits = value.replaceAll("-", "");
  const bytes = Uint8Array.from(hexDigits.match(/../g)!, (pair) => Number.parseInt(pair, 16));
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
  return buffer(Uint8Array.from(order, (from) => bytes[from]!));
}

export const pkg = (...elements: Term[]): Term =>
  packaged([OP.package], u8(elements.length), ...elements);

export const name = (nameString: string, value: Term): Term =>
  concat([u8(OP.name), path(nameString), value]);

export const scope = (nameString: string, ...terms: Term[]): Term =>
  packaged([OP.scope], path(nameString), ...terms);

export const device = (nameString: string, ...terms: Term[]): Term =>
  packaged([OP.extended, OP.device], path(nameString), ...terms);

/** A method that is not serialized; `argCount` is 0 to 7. */
export const method = (nameString: string, argCount: number, ...terms: Term[]): Term =>
  packaged([OP.method], path(nameString), u8(argCount), ...terms);

export const arg = (index: number): Term => u8(OP.arg0 + index);
export const local = (index: number): Term => u8(OP.local0 + index);

export const store = (value: Term, target: Term): Term => concat([u8(OP.store), value, target]);
export const and = (a: Term, b: Term, target: Term): Term => concat([u8(OP.and), a, b, target]);
export const or = (a: Term, b: Term, target: Term): Term => concat([u8(OP.or), a, b, target]);
export const equal = (a: Term, b: Term): Term => concat([u8(OP.equal), a, b]);
export const not = (a: Term): Term => concat([u8(OP.not), a]);
export const returns = (value: Term): Term => concat([u8(OP.return), value]);

export const when = (condition: Term, ...terms: Term[]): Term =>
  packaged([OP.if], condition, ...terms);

/** Follows a `when` directly. */
export const otherwise = (...terms: Term[]): Term => packaged([OP.else], ...terms);

/** CreateDWordField (source, byte index, name). */
export const createDwordField = (source: Term, byteIndex: number, nameString: string): Term =>
  concat([u8(OP.createDwordField), source, integer(byteIndex), path(nameString)]);
