import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ViaductError } from "../sys/sys-error.ts";
import { walkCapabilities, walkExtendedCapabilities } from "./capabilities.ts";
import { ConfigSpace } from "./config-space.ts";

test("addCapability puts the newest at the head, read-only and checked for migration", () => {
  const config = new ConfigSpace("test", 256);
  config.addCapability(0x01, 0x80, 8);
  config.addCapability(0x05, 0x50, 14);
  assert.deepEqual(walkCapabilities(config.bytes), [
    { id: 0x05, offset: 0x50 },
    { id: 0x01, offset: 0x80 },
  ]);
  assert.equal(config.bytes[0x06], 0x10);
  config.applyWrite(0x80, 4, 0xffffffff);
  assert.equal(config.read(0x80, 4), 0x0001);
  assert.deepEqual([...config.cmask.subarray(0x4f, 0x51)], [0, 0xff]);
  assert.equal(config.findCapability(0x01), 0x80);
});

test("addCapability without an offset takes the first gap", () => {
  const config = new ConfigSpace("test", 256);
  config.addCapability(0x01, 0x44, 8);
  assert.equal(config.addCapability(0x11, undefined, 12), 0x4c);
  assert.equal(config.addCapability(0x09, undefined, 4), 0x40);
});

test("addCapability refuses an overlap and names both capabilities", () => {
  const config = new ConfigSpace("0000:01:00.0", 256);
  config.addCapability(0x01, 0x40, 8);
  assert.throws(
    () => config.addCapability(0x05, 0x44, 14),
    (error) =>
      error instanceof ViaductError &&
      error.code === "CAPABILITY_OVERLAP" &&
      /0000:01:00\.0.*capability 0x5.*0x44.*capability 0x1.*0x40/.test(error.message),
  );
  assert.throws(() => config.addCapability(0x09, 0xfc, 8), /does not fit/);
});

test("removeCapability unlinks and frees the bytes", () => {
  const config = new ConfigSpace("test", 256);
  config.addCapability(0x01, 0x40, 8);
  config.addCapability(0x05, 0x50, 14);
  config.addCapability(0x11, 0x60, 12);
  config.removeCapability(0x05);
  assert.deepEqual(
    walkCapabilities(config.bytes).map((entry) => entry.offset),
    [0x60, 0x40],
  );
  config.addCapability(0x09, 0x50, 16);
  for (const id of [0x01, 0x09, 0x11]) config.removeCapability(id);
  assert.equal(config.bytes[0x06], 0);
});

test("addExtendedCapability appends, replaces a stub at 0x100, and patches the tail", () => {
  const config = new ConfigSpace("test", 4096);
  config.write(0x100, 4, 0x0000ffff);
  config.addExtendedCapability(0x03, 1, 0x140, 12);
  config.addExtendedCapability(0x0b, 2, 0x200, 16);
  config.addExtendedCapability(0x01, 2, 0x100, 0x40);
  assert.deepEqual(
    walkExtendedCapabilities(config.bytes).map(({ id, version, offset }) => [id, version, offset]),
    [
      [0x01, 2, 0x100],
      [0x03, 1, 0x140],
      [0x0b, 2, 0x200],
    ],
  );
  assert.equal(config.findExtendedCapability(0x0b), 0x200);
});

test("addExtendedCapability refuses what is too short, unaligned or past the end", () => {
  const config = new ConfigSpace("test", 4096);
  assert.throws(() => config.addExtendedCapability(0x03, 1, 0x140, 2), ViaductError);
  assert.throws(() => config.addExtendedCapability(0x03, 1, 0x142, 8), ViaductError);
  assert.throws(() => config.addExtendedCapability(0x03, 1, 0xffc, 8), ViaductError);
  assert.throws(
    () => new ConfigSpace("t", 256).addExtendedCapability(3, 1, 0x100, 8),
    ViaductError,
  );
});

test("walks end on any bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 4096, maxLength: 4096 }), (bytes) => {
      assert.ok(walkCapabilities(bytes).length <= 48);
      assert.ok(walkExtendedCapabilities(bytes).length <= 480);
    }),
    { numRuns: 30 },
  );
  const loop = new Uint8Array(4096);
  loop.set([0x10], 0x06);
  loop.set([0x40], 0x34);
  loop.set([0x01, 0x40], 0x40);
  loop.set([0x01, 0x00, 0x01, 0x10], 0x100);
  assert.equal(walkCapabilities(loop).length, 1);
  assert.equal(walkExtendedCapabilities(loop).length, 1);
});
