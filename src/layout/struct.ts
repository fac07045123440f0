/**
 * `struct()`: a C struct as data. The order of the fields is the layout, and a declaration that
 * disagrees with C's own rules throws when the module loads.
 *
 * Reading order: `field-types.ts` (what a field may be), `struct()`, `Layout`, then
 * `struct-view.ts` (the accessors).
 */

import assert from "node:assert/strict";
import {
  type Endian,
  type Field,
  type Fields,
  HOST_ENDIAN,
  type InitOf,
  type Overlay,
  type ValueOf,
} from "./field-types.ts";
import { type ViewClass, viewClass } from "./struct-view.ts";

export {
  array,
  be16,
  be32,
  be64,
  bytes,
  type ElementArray,
  type Endian,
  flexible,
  flexibleBytes,
  HOST_ENDIAN,
  le16,
  le32,
  le64,
  overlay,
  s8,
  s16,
  s32,
  s64,
  u8,
  u16,
  u32,
  u64,
} from "./field-types.ts";

type ScalarKeys<F> = {
  [K in keyof F]: F[K] extends { kind: "scalar" } ? K : never;
}[keyof F];
type OverlayKeys<F> = {
  [K in keyof F]: F[K] extends { kind: "overlay" } ? K : never;
}[keyof F];
type Every<U> = (U extends unknown ? (x: U) => void : never) extends (x: infer I) => void
  ? I
  : never;
type Members<F> = F extends Overlay<infer M> ? M : never;

/** Typed accessors over bytes: scalars are assignable, composite fields are views themselves. */
export type StructView<F extends Fields> = {
  [K in ScalarKeys<F>]: ValueOf<F[K]>;
} & {
  readonly [K in Exclude<keyof F, ScalarKeys<F> | OverlayKeys<F>>]: ValueOf<F[K]>;
} & Every<{ [K in OverlayKeys<F>]: StructView<Members<F[K]>> }[OverlayKeys<F>]>;

/** Values to begin with; what is left out is zero. */
export type StructInit<F extends Fields> = {
  readonly [K in Exclude<keyof F, OverlayKeys<F>>]?: InitOf<F[K]>;
} & Every<{ [K in OverlayKeys<F>]: StructInit<Members<F[K]>> }[OverlayKeys<F>]>;

/** The names of the fields, those of anonymous unions included. */
export type FieldName<F extends Fields> = string & keyof StructView<F>;

/** Where one field lies. */
export interface FieldPlace {
  readonly name: string;
  readonly offset: number;
  readonly type: Field;
}

export interface StructOptions {
  /** Byte order of the fields without an order of their own; tests choose it. */
  readonly endian?: Endian;
  /** `__attribute__((packed))`: no alignment at all. */
  readonly packed?: boolean;
  /** A C union: every field begins at offset 0. */
  readonly union?: boolean;
  /** The alignment where the header raises it with `__attribute__((aligned))`. */
  readonly align?: number;
}

/**
 * Declares a C struct.
 *
 * @param name the C tag, without `struct`; "" for a struct that has none
 * @param size `sizeof` in bytes, flexible array member excluded
 * @param fields in the header's order; padding is spelled out, with a name that begins with `_pad`
 * @throws {AssertionError} when C would insert padding, or the total differs
 */
export function struct<const F extends Fields>(
  name: string,
  size: number,
  fields: F,
  options: StructOptions = {},
): Struct<F> {
  return new Struct(name, size, fields, options);
}

/** A named or unnamed C union that is a field of its own: every member at offset 0. */
export function union<const F extends Fields>(name: string, size: number, fields: F): Struct<F> {
  return new Struct(name, size, fields, { union: true });
}

/** A declared layout; make it with `struct()`. */
export class Struct<F extends Fields> {
  readonly kind = "struct";
  readonly name: string;
  /** `sizeof`, in bytes. */
  readonly size: number;
  readonly align: number;
  readonly endian: Endian;
  readonly isUnion: boolean;
  /** Every field in order, members of anonymous unions included. */
  readonly places: readonly FieldPlace[];
  readonly #fields: F;
  readonly #options: StructOptions;
  readonly #byName = new Map<string, FieldPlace>();
  #view: ViewClass | undefined;

  constructor(name: string, size: number, fields: F, options: StructOptions) {
    this.name = name;
    this.size = size;
    this.endian = options.endian ?? HOST_ENDIAN;
    this.isUnion = options.union ?? false;
    this.#fields = fields;
    this.#options = options;
    const { places, end, align } = layOut(name, fields, options);
    this.places = places;
    this.align = options.align ?? align;
    // Every program declares hundreds of structs as it starts: a message is made only when needed.
    if (end !== size) assert.fail(`struct ${name}: the fields end at ${end}, not at ${size}`);
    if (!options.packed && size % this.align !== 0) {
      assert.fail(`struct ${name}: C pads the end to a multiple of ${this.align}: spell it _pad`);
    }
    for (const place of places) this.#byName.set(place.name, place);
    if (this.#byName.size !== places.length) {
      assert.fail(`struct ${name}: a field name occurs twice`);
    }
  }

  /** `offsetof(struct name, field)`. */
  offsetof(field: FieldName<F>): number {
    const place = this.#byName.get(field);
    assert(place, `struct ${this.name} has no field ${field}`);
    return place.offset;
  }

  /**
   * New zeroed bytes with some fields set. A flexible array member takes its length from its
   * initial value, or from `trailing`.
   *
   * @param trailing bytes to have behind the fixed part at least
   * @throws {RangeError} when a value does not fit its field
   */
  bytes(init?: StructInit<F>, trailing = 0): Uint8Array<ArrayBuffer> {
    const values = Object.entries(init ?? {}).filter(([, value]) => value !== undefined);
    let room = trailing;
    for (const [name, value] of values) room = Math.max(room, this.#trailingBytes(name, value));
    // An ArrayBuffer of its own never moves, so its address may be given to the kernel.
    const memory = new Uint8Array(new ArrayBuffer(this.size + room));
    if (values.length > 0) {
      const view = this.at(memory);
      for (const [name, value] of values) Reflect.set(view, name, value);
    }
    return memory;
  }

  /** A typed view of `memory` from `offset` on, without a copy. Make one per buffer, not per access. */
  at(memory: Uint8Array, offset = 0): StructView<F> {
    this.#view ??= viewClass(this.name, this.places, this.endian);
    if (offset < 0 || offset + this.size > memory.byteLength) {
      throw new RangeError(
        `struct ${this.name} (${this.size} bytes) at ${offset} of ${memory.byteLength} bytes`,
      );
    }
    const start = memory.byteOffset + offset;
    const length = memory.byteLength - offset;
    return new this.#view(new DataView(memory.buffer, start, length)) as StructView<F>;
  }

  /** The same struct as the other kind of machine has it. */
  withEndian(endian: Endian): Struct<F> {
    if (endian === this.endian) return this;
    return new Struct(this.name, this.size, this.#fields, { ...this.#options, endian });
  }

  #trailingBytes(name: string, value: unknown): number {
    const place = this.#byName.get(name);
    assert(place, `struct ${this.name} has no field ${name}`);
    const { type } = place;
    const behind = place.offset - this.size;
    if (type.kind === "bytes" && type.flexible) return behind + (value as Uint8Array).byteLength;
    if (type.kind !== "array" || type.count !== undefined) return 0;
    return behind + [...(value as Iterable<unknown>)].length * type.element.size;
  }
}

interface Layout {
  readonly places: FieldPlace[];
  readonly end: number;
  readonly align: number;
}

/** Places the fields one after the other, and refuses what C would move. */
function layOut(name: string, fields: Fields, options: StructOptions): Layout {
  const places: FieldPlace[] = [];
  const { end, align } = placeFields(places, name, fields, 0, options.union === true, options);
  return { places, end, align };
}

function placeFields(
  places: FieldPlace[],
  name: string,
  fields: Fields,
  base: number,
  isUnion: boolean,
  options: StructOptions,
): { end: number; align: number } {
  let offset = base;
  let end = base;
  let align = 1;
  for (const field in fields) {
    const type = fields[field]!;
    if (isUnion) offset = base;
    let { size, align: needs } = type as { size: number; align: number };
    if (type.kind === "overlay") {
      const inner = placeFields(places, name, type.members, offset, true, options);
      needs = inner.align;
      size = Math.ceil((inner.end - offset) / needs) * needs;
    } else {
      places.push({ name: field, offset, type });
    }
    if (!options.packed) {
      if (needs > align) align = needs;
      const gap = (needs - (offset % needs)) % needs;
      if (gap > 0)
        assert.fail(`struct ${name}: C pads ${gap} bytes before ${field}: spell it _pad`);
    }
    offset += size;
    if (offset > end) end = offset;
  }
  return { end, align };
}
