/**
 * The decoder of configuration space against lspci, and against bytes that no device would have.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { configText, decodeConfig } from "../../../src/pci/decode.ts";
import { hasLspci, hexDump, lspciLines } from "./lspci-oracle.ts";

/** A configuration space with one capability whose registers are random. */
function spaceWith(
  seed: number,
  what: { size: number; bridge: boolean; id: number; at: number; flags?: number },
): Uint8Array {
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >> 8) & 0xff;
  };
  const bytes = new Uint8Array(what.size);
  bytes.set([0x86, 0x80, 0x34, 0x12]);
  bytes[0x06] = 0x10;
  bytes[0x0a] = what.bridge ? 4 : 0;
  bytes[0x0b] = what.bridge ? 6 : 2;
  bytes[0x0e] = what.bridge ? 1 : 0;
  bytes[0x34] = 0x40;
  if (what.at >= 0x100) {
    bytes[0x40] = 0x10;
    bytes[0x42] = 2 | (what.bridge ? 0x40 : 0);
  }
  for (let at = what.at; at < what.at + (what.at < 0x100 ? 0x3c : 0x60); at++) bytes[at] = random();
  bytes[what.at] = what.id;
  bytes[what.at + 1] = 0;
  if (what.flags !== undefined) bytes[what.at + 2] = what.flags;
  if (what.at >= 0x100) bytes.set([1, 0], what.at + 2);
  return bytes;
}

const EXPRESS_TYPES = [0, 1, 4, 5, 6, 7, 8, 9, 10];
/** Not among them: AGP and HyperTransport, of which only the title is decoded. */
const STANDARD = [0x01, 0x04, 0x05, 0x06, 0x07, 0x09, 0x0a, 0x0b, 0x0c, 0x0e, 0x0f, 0x11, 0x12];
const EXTENDED = [
  0x01, 0x02, 0x03, 0x04, 0x06, 0x08, 0x09, 0x0a, 0x0b, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x13, 0x15,
  0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x21, 0x22, 0x24, 0x25,
];

function cases(seed: number): Array<[string, Uint8Array]> {
  const made: Array<[string, Uint8Array]> = [];
  for (const type of EXPRESS_TYPES) {
    for (const version of [1, 2]) {
      const bridge = type >= 4 && type <= 7;
      const flags = version | (type << 4);
      const bytes = spaceWith(seed + type, { size: 256, bridge, id: 0x10, at: 0x40, flags });
      made.push([`express type ${type} version ${version}`, bytes]);
    }
  }
  for (const id of STANDARD) {
    made.push([`id ${id}`, spaceWith(seed + id, { size: 256, bridge: false, id, at: 0x40 })]);
  }
  for (const id of EXTENDED) {
    for (const bridge of [false, true]) {
      const bytes = spaceWith(seed + id, { size: 4096, bridge, id, at: 0x100 });
      made.push([`extended id ${id}${bridge ? " of a port" : ""}`, bytes]);
    }
  }
  return made;
}

test("configText says what lspci -vvv says, line by line", { skip: !hasLspci() }, () => {
  const all = [...cases(7), ...cases(1234)];
  const theirs = lspciLines(all.map(([, bytes]) => hexDump(bytes)));
  all.forEach(([name, bytes], at) => {
    const ours = configText(decodeConfig(bytes)).filter((line) => !line.includes("!!!"));
    const trim = (lines: readonly string[]) => lines.map((line) => line.trimEnd());
    assert.deepEqual(trim(ours), trim(theirs[at]!), name);
  });
});

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
