/**
 * Field types of `struct()`: what a field holds and how it lies in memory. Plain data, so that one
 * declaration serves both endiannesses. Read `struct.ts` next.
 */

import { endianness } from "node:os";
import type { Struct, StructInit, StructView } from "./struct.ts";

export type Endian = "LE" | "BE";

/** The byte order of the kernel's own structs on this machine. */
export const HOST_ENDIAN: Endian = endianness();

/** An integer; `order` "host" follows the struct's endianness. */
export interface Scalar<Value extends number | bigint> {
  readonly kind: "scalar";
  readonly name: string;
  readonly size: 1 | 2 | 4 | 8;
  readonly align: number;
  readonly signed: boolean;
  readonly order: "host" | Endian;
  /** Never present: carries the type. */
  readonly value?: Value;
}

/** `count` elements of a scalar or a struct, in a row. */
export interface ArrayOf<Element extends Scalar<number | bigint> | Struct<Fields>> {
  readonly kind: "array";
  readonly element: Element;
  readonly size: number;
  readonly align: number;
  /** `undefined`: a flexible array member, as long as the bytes the view was given. */
  readonly count: number | undefined;
}

/** Raw bytes; `size` 0 with `flexible` is a flexible array member of bytes. */
export interface RawBytes {
  readonly kind: "bytes";
  readonly size: number;
  readonly align: 1;
  readonly flexible: boolean;
}

/** An anonymous C union: its members are fields of the struct around it, all at one offset. */
export interface Overlay<Members extends Fields> {
  readonly kind: "overlay";
  readonly members: Members;
}

export type Element = Scalar<number | bigint> | Struct<Fields>;
export type Field = Scalar<number | bigint> | ArrayOf<Element> | RawBytes | Struct<Fields>;
export type Fields = { readonly [name: string]: Field | Overlay<Fields> };

/** A row of elements inside a struct. Element views of structs are made once and kept. */
export interface ElementArray<Value, Init> extends Iterable<Value> {
  readonly length: number;
  /** @throws {RangeError} when `index` is not below `length` */
  get(index: number): Value;
  set(index: number, value: Init): void;
}

export type ValueOf<F> =
  F extends Scalar<infer Value>
    ? Value
    : F extends RawBytes
      ? Uint8Array
      : F extends ArrayOf<infer E>
        ? ElementArray<ValueOf<E>, InitOf<E>>
        : F extends Struct<infer G>
          ? StructView<G>
          : never;

/** What may be stored: a 64-bit field also takes a safe integer, such as a user-space address. */
export type InitOf<F> =
  F extends Scalar<infer Value>
    ? Value extends bigint
      ? bigint | number
      : number
    : F extends RawBytes
      ? Uint8Array
      : F extends ArrayOf<infer E>
        ? Iterable<InitOf<E>>
        : F extends Struct<infer G>
          ? StructInit<G>
          : never;

function scalar<Value extends number | bigint>(
  name: string,
  size: 1 | 2 | 4 | 8,
  order: "host" | Endian,
): Scalar<Value> {
  return { kind: "scalar", name, size, align: size, signed: name.startsWith("s"), order };
}

export const u8: Scalar<number> = scalar("u8", 1, "host");
export const u16: Scalar<number> = scalar("u16", 2, "host");
export const u32: Scalar<number> = scalar("u32", 4, "host");
export const u64: Scalar<bigint> = scalar("u64", 8, "host");
export const s8: Scalar<number> = scalar("s8", 1, "host");
export const s16: Scalar<number> = scalar("s16", 2, "host");
export const s32: Scalar<number> = scalar("s32", 4, "host");
export const s64: Scalar<bigint> = scalar("s64", 8, "host");
export const le16: Scalar<number> = scalar("le16", 2, "LE");
export const le32: Scalar<number> = scalar("le32", 4, "LE");
export const le64: Scalar<bigint> = scalar("le64", 8, "LE");
export const be16: Scalar<number> = scalar("be16", 2, "BE");
export const be32: Scalar<number> = scalar("be32", 4, "BE");
export const be64: Scalar<bigint> = scalar("be64", 8, "BE");

/** A fixed number of raw bytes: a `Uint8Array` over the struct's memory. */
export function bytes(size: number): RawBytes {
  return { kind: "bytes", size, align: 1, flexible: false };
}

/** A fixed array: `array(u32, 4)` is `__u32 x[4]`. */
export function array<const E extends Element>(element: E, count: number): ArrayOf<E> {
  return { kind: "array", element, count, size: element.size * count, align: element.align };
}

/** A flexible array member, last in its struct: `flexible(u32)` is `__u32 x[]`. */
export function flexible<const E extends Element>(element: E): ArrayOf<E> {
  return { kind: "array", element, count: undefined, size: 0, align: element.align };
}

/** A flexible array member of raw bytes, last in its struct: `__u8 data[]`. */
export function flexibleBytes(): RawBytes {
  return { kind: "bytes", size: 0, align: 1, flexible: true };
}

/** An anonymous union: its members become fields of the surrounding struct. */
export function overlay<const M extends Fields>(members: M): Overlay<M> {
  return { kind: "overlay", members };
}
