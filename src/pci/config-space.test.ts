import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ConfigSpace, mergedRead } from "./config-space.ts";

const offsets = fc.integer({ min: 0, max: 4100 });
const lengths = fc.constantFrom(1, 2, 4);
const dwords = fc.integer({ min: 0, max: 0xffffffff });

test("spec F1: mergedRead mixes shadow and device by bit, in one device read", () => {
  const config = new ConfigSpace("test", 256);
  config.write(0x40, 4, 0x12345678);
  config.setMask(config.emuMask, 0x40, 4, 0x00ff0f01);
  const reads: Array<[number, number]> = [];
  const value = mergedRead(config, 0x40, 4, (offset, length) => {
    reads.push([offset, length]);
    return 0xaabbccdd;
  });
  const mask = 0x00ff0f01;
  assert.equal(value, ((0x12345678 & mask) | (0xaabbccdd & ~mask)) >>> 0);
  assert.deepEqual(reads, [[0x40, 4]]);
});

test("spec F2: mergedRead of emulated bytes leaves the device alone", () => {
  const config = new ConfigSpace("test", 256);
  config.emuMask.fill(0);
  config.emuMask.fill(0xff, 0x10, 0x28);
  config.write(0x10, 4, 0xfebd0004);
  const value = mergedRead(config, 0x10, 4, () => assert.fail("device was read"));
  assert.equal(value, 0xfebd0004);
});

test("mergedRead: any split of a read gives the same bytes, also across the end", () => {
  const config = new ConfigSpace("test", 4096);
  const device = new Uint8Array(4096);
  for (let i = 0; i < 4096; i++) {
    config.bytes[i] = i * 7;
    config.emuMask[i] = i * 13;
    device[i] = ~(i * 3);
  }
  const read = (offset: number, length: number) =>
    mergedRead(config, offset, length, (at, size) => {
      let value = 0;
      for (let i = 0; i < size; i++) value |= device[at + i]! << (8 * i);
      return value >>> 0;
    });
  fc.assert(
    fc.property(offsets, lengths, (offset, length) => {
      let bytes = 0;
      for (let i = 0; i < length; i++) bytes |= read(offset + i, 1) << (8 * i);
      assert.equal(read(offset, length), bytes >>> 0);
    }),
  );
});

test("applyWrite changes wmask bits and clears written w1cmask bits, and nothing else", () => {
  fc.assert(
    fc.property(offsets, lengths, dwords, dwords, dwords, dwords, (offset, length, ...words) => {
      const [before, wmask, w1c, value] = words as [number, number, number, number];
      const config = new ConfigSpace("test", 4096);
      config.write(offset, 4, before);
      config.setMask(config.wmask, offset, Math.max(0, Math.min(4, 4096 - offset)), wmask);
      config.setMask(config.w1cmask, offset, Math.max(0, Math.min(4, 4096 - offset)), w1c & ~wmask);
      config.applyWrite(offset, length, value);
      const width = length === 4 ? 0xffffffff : 2 ** (8 * length) - 1;
      let expected = (before & ~(wmask & width)) | (value & wmask & width);
      expected &= ~(value & w1c & ~wmask & width);
      const inside = Math.max(0, Math.min(4, 4096 - offset));
      for (let i = 0; i < inside; i++) {
        assert.equal(config.bytes[offset + i], (expected >>> (8 * i)) & 0xff);
      }
    }),
  );
});

test("default masks: COMMAND, line and device area writable, the header otherwise not", () => {
  const config = new ConfigSpace("test", 256);
  for (let at = 0; at < 256; at += 4) config.applyWrite(at, 4, 0xffffffff);
  assert.equal(config.read(0x00, 4), 0);
  assert.equal(config.read(0x04, 4), 0x0507);
  assert.equal(config.read(0x0c, 4), 0xff);
  assert.equal(config.read(0x10, 4), 0);
  assert.equal(config.read(0x30, 4), 0);
  assert.equal(config.read(0x3c, 4), 0xff);
  assert.equal(config.read(0x40, 4), 0xffffffff);
  assert.equal(config.read(0xfe, 4), 0xffffffff);
});

test("STATUS error bits are cleared by writing ones", () => {
  const config = new ConfigSpace("test", 256);
  config.write(0x06, 2, 0xf910);
  config.applyWrite(0x06, 2, 0x8100);
  assert.equal(config.read(0x06, 2), 0x7810);
});
