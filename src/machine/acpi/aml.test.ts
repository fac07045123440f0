import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { buffer, device, eisaId, integer, name, path, pkg, uuid } from "./aml.ts";

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

test("path encodes root, parents, and one, two or many segments", () => {
  assert.equal(hexOf(path("_HID")), hexOf(Buffer.from("_HID")));
  assert.equal(hexOf(path("\\_SB")), hexOf(Buffer.from("\\_SB_")));
  assert.equal(hexOf(path("^^A.B")), hexOf(Buffer.from("^^.A___B___")));
  assert.equal(hexOf(path("A.B.C")), hexOf(Buffer.from("\x2f\x03A___B___C___")));
  assert.equal(hexOf(path("\\")), "5c00");
});

test("integer takes the shortest form", () => {
  assert.equal(hexOf(integer(0)), "00");
  assert.equal(hexOf(integer(1)), "01");
  assert.equal(hexOf(integer(0xff)), "0aff");
  assert.equal(hexOf(integer(0x100)), "0b0001");
  assert.equal(hexOf(integer(0x1_0000)), "0c00000100");
  assert.equal(hexOf(integer(0x1_0000_0000n)), "0e0000000001000000");
});

test("eisaId packs PNP0A08 as firmware does", () => {
  assert.equal(hexOf(eisaId("PNP0A08")), "0c41d00a08");
});

test("uuid swaps the first three fields", () => {
  const bytes = uuid("33DB4D5B-1FF7-401C-9657-7441C03DD766");
  assert.equal(hexOf(bytes), "11130a105b4ddb33f71f1c4096577441c03dd766");
});

test("a package's length counts its own bytes, whatever its size", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0x30_0000 }), (size) => {
      const bytes = buffer(new Uint8Array(size));
      const extra = bytes[1]! >> 6;
      let length = bytes[1]! & (extra === 0 ? 0x3f : 0x0f);
      for (let i = 0; i < extra; i++) length |= bytes[2 + i]! << (4 + 8 * i);
      assert.equal(length, bytes.length - 1);
    }),
    { numRuns: 60 },
  );
});

test("device and name nest", () => {
  const bytes = device("COM1", name("_UID", integer(1)), name("_X", pkg(integer(2))));
  assert.equal(hexOf(bytes), "5b8215434f4d31085f5549440108" + "5f585f5f" + "1204010a02");
});
