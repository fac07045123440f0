import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  alignDown,
  alignUp,
  allOnes,
  flagNames,
  getField,
  isPowerOfTwo,
  setField,
  trailingZeros,
} from "./bits.ts";

test("getField, setField: a field comes back, the bits around it stay", () => {
  assert.equal(getField(0x8000_0000, 0xf000_0000), 8);
  assert.equal(setField(0xffff_ffff, 0xff00_0000, 0x12), 0x12ff_ffff);
  assert.throws(() => setField(0, 0x70, 8), RangeError);
  const mask = fc.tuple(fc.integer({ min: 0, max: 31 }), fc.integer({ min: 1, max: 32 }));
  fc.assert(
    fc.property(fc.nat(2 ** 31 - 1), mask, fc.nat(), (value, [low, width], seed) => {
      const size = Math.min(width, 32 - low);
      const m = ((2 ** size - 1) * 2 ** low) >>> 0;
      const field = seed % 2 ** size;
      const result = setField(value, m, field);
      assert.equal(getField(result, m), field);
      assert.equal((result & ~m) >>> 0, (value & ~m) >>> 0);
    }),
  );
});

test("alignDown, alignUp: numbers and bigints, beyond 32 bits", () => {
  assert.equal(alignDown(0x1_0000_1fff, 0x1000), 0x1_0000_1000);
  assert.equal(alignUp(0x1_0000_0001, 0x1000), 0x1_0000_1000);
  assert.equal(alignUp(0x1000, 0x1000), 0x1000);
  assert.equal(alignDown(2n ** 64n - 1n, 0x1000n), 2n ** 64n - 0x1000n);
  assert.equal(alignUp(1n, 0x1000n), 0x1000n);
});

test("allOnes, trailingZeros, isPowerOfTwo", () => {
  assert.deepEqual([1, 2, 3, 4].map(allOnes), [0xff, 0xffff, 0xff_ffff, 0xffff_ffff]);
  assert.deepEqual([0, 1, 0x8000_0000, 0x30].map(trailingZeros), [32, 0, 31, 4]);
  assert.deepEqual([0, 1, 3, 2 ** 40].map(isPowerOfTwo), [false, true, false, true]);
});

test("flagNames: names the set bits and shows the others in hexadecimal", () => {
  assert.deepEqual(flagNames(0b1011, { READ: 1, WRITE: 2, MMAP: 4 }), ["READ", "WRITE", "0x8"]);
  assert.deepEqual(flagNames(0, { READ: 1 }), []);
});
