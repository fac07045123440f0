/**
 * The decoder of configuration space on bytes that no device would have. That it says what lspci
 * says is test/lab/lspci.test.ts.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeConfig } from "../../../src/pci/decode.ts";

test("decodeConfig takes any bytes without an error or an endless chain", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 0, maxLength: 600 }), (bytes) => {
      const decoded = decodeConfig(bytes);
      assert.ok(decoded.capabilities.length <= 64 + 1024);
      assert.equal(typeof JSON.stringify(decoded), "string");
    }),
    { numRuns: 300 },
  );
});

test("a ROM and a BAR that only the kernel knows of are virtual", () => {
  const region = { kind: "mem64", prefetchable: true } as const;
  const { headerLines } = decodeConfig(new Uint8Array(64), {
    regions: [
      { index: 0, start: 0xfe00_0000n, size: 0x4000n, ...region },
      { index: 6, start: 0xfe60_0000n, size: 0x4_0000n, ...region },
    ],
  });
  assert.deepEqual(headerLines.slice(-2), [
    "Region 0: Memory at fe000000 (64-bit, prefetchable) [virtual] [size=16K]",
    "Expansion ROM at fe600000 [virtual] [disabled] [size=256K]",
  ]);
});

test("a BAR that the kernel found no room for is left out, as lspci has it", () => {
  const bytes = new Uint8Array(64);
  bytes[0x10] = 0x08;
  const said = (regions?: []) =>
    decodeConfig(bytes, regions && { regions }).headerLines.filter((line) => /^Region/.test(line));
  assert.deepEqual(said([]), []);
  assert.deepEqual(said(), ["Region 0: Memory at <unassigned> (32-bit, prefetchable) [disabled]"]);
});

test("a chain that loops is cut, and said to loop", () => {
  const bytes = new Uint8Array(256);
  bytes[0x06] = 0x10;
  bytes[0x34] = 0x40;
  bytes.set([0x01, 0x50], 0x40);
  bytes.set([0x05, 0x40], 0x50);
  const decoded = decodeConfig(bytes);
  assert.deepEqual(
    decoded.capabilities.map(({ name }) => name),
    ["pm", "msi"],
  );
  assert.equal(decoded.problem, "[40] <chain looped>");
});

test("decodeConfig gives registers by name and value", () => {
  const bytes = new Uint8Array(256);
  bytes[0x06] = 0x10;
  bytes[0x34] = 0x40;
  bytes.set([0x11, 0x00, 0x07, 0x80, 0x03, 0x20, 0, 0, 0x03, 0x30, 0, 0], 0x40);
  const [msix] = decodeConfig(bytes).capabilities;
  assert.deepEqual(msix?.registers, {
    MessageControl: { value: 0x8007, vectors: 8, Enable: true, Masked: false },
    "Vector table": { bar: 3, offset: 0x2000 },
    PBA: { bar: 3, offset: 0x3000 },
  });
  assert.deepEqual(msix?.lines, [
    "MSI-X: Enable+ Count=8 Masked-",
    "Vector table: BAR=3 offset=00002000",
    "PBA: BAR=3 offset=00003000",
  ]);
});
