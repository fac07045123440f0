import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { type FieldPlace, Struct } from "../layout/struct.ts";

/** Every struct that a module of this folder exports. */
async function declared(): Promise<Struct<never>[]> {
  const files = readdirSync(import.meta.dirname).filter((name) => /^[\w-]+\.js$/.test(name));
  const modules = await Promise.all(files.map((name) => import(`./${name}`)));
  const values = modules.flatMap((module) => Object.values(module as Record<string, unknown>));
  return values.filter((value): value is Struct<never> => value instanceof Struct);
}

const structs = await declared();

test("abi: every struct is found, and none twice", () => {
  assert(structs.length > 120, `${structs.length} structs`);
  assert.equal(new Set(structs.map(({ name }) => name)).size, structs.length);
});

test("abi: fields lie inside their struct, and one behind the other unless at one offset", () => {
  for (const { name, size, places } of structs) {
    const ends: FieldPlace[] = [];
    for (const place of places) {
      assert(place.offset + place.type.size <= size, `${name}.${place.name} ends behind ${size}`);
      const overlapping = ends.filter(
        ({ offset, type }) => offset < place.offset && place.offset < offset + type.size,
      );
      assert.deepEqual(overlapping, [], `${name}.${place.name}`);
      ends.push(place);
    }
  }
});

test("abi: a big-endian host has every field at the same offset, bytes turned round", () => {
  for (const struct of structs) {
    const big = struct.withEndian("BE");
    const little = struct.withEndian("LE");
    assert.deepEqual(
      big.places.map(({ name, offset }) => [name, offset]),
      little.places.map(({ name, offset }) => [name, offset]),
    );
    assert.equal(big.size, little.size);
  }
});

test("abi: any field of any struct round-trips in both byte orders and leaves the others", () => {
  const endian = fc.constantFrom("LE" as const, "BE" as const);
  const seed = fc.bigInt(0n, 2n ** 64n - 1n);
  fc.assert(
    fc.property(fc.constantFrom(...structs), fc.nat(), endian, seed, (struct, pick, order, raw) => {
      const scalars = struct.places.filter(({ type }) => type.kind === "scalar");
      const place = scalars[pick % scalars.length];
      if (place?.type.kind !== "scalar") return;
      const { type, offset, name } = place;
      const memory = struct.withEndian(order).bytes();
      const view = struct.withEndian(order).at(memory) as Record<string, bigint | number>;
      const bits = type.size * 8;
      const wide = type.signed ? BigInt.asIntN(bits, raw) : BigInt.asUintN(bits, raw);
      const value = type.size === 8 ? wide : Number(wide);
      view[name] = value;
      assert.equal(view[name], value, `${struct.name}.${name}`);
      const own = [...memory.subarray(offset, offset + type.size)];
      if ((type.order === "host" ? order : type.order) === "LE") own.reverse();
      const stored = own.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
      assert.equal(stored, BigInt.asUintN(bits, wide), `${struct.name}.${name}`);
      memory.fill(0, offset, offset + type.size);
      assert(memory.every((byte) => byte === 0));
    }),
    { numRuns: 500 },
  );
});
