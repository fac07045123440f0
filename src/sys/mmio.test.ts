import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Mmio } from "./mmio.ts";

test("Mmio reads back what it wrote, at every width, little-endian", () => {
  const memory = new Mmio(new SharedArrayBuffer(64));
  fc.assert(
    fc.property(fc.bigInt(0n, 2n ** 64n - 1n), fc.nat(7), (value, index) => {
      memory.write64(index * 8, value);
      assert.equal(memory.read64(index * 8), value);
      assert.equal(memory.read32(index * 8), Number(value & 0xffffffffn));
      assert.equal(memory.read16(index * 8 + 6), Number(value >> 48n));
      assert.equal(memory.read8(index * 8 + 7), Number(value >> 56n));
      memory.write32(index * 8 + 4, 0x01020304);
      assert.equal(memory.read8(index * 8 + 4), 4);
    }),
  );
});

test("Mmio refuses what a typed array would swallow", () => {
  const memory = new Mmio(new SharedArrayBuffer(16));
  assert.throws(() => memory.write32(16, 1), RangeError);
  assert.throws(() => memory.write32(2, 1), RangeError);
  assert.throws(() => memory.write8(-1, 1), RangeError);
  assert.throws(() => memory.read32(16), RangeError);
});
