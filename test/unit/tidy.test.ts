/**
 * The repository's own rules: imports point down, functions and files stay short, and what has a
 * safer replacement stays out.
 */

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { test } from "node:test";
import { functionsOf } from "./function-lengths.ts";

const root = resolve(import.meta.dirname, "../../..");

/**
 * Layers from the bottom up (docs/architecture.md). A file imports its own layer and those before
 * it.
 */
const LAYERS = [
  "layout",
  "abi",
  "sys",
  "sim",
  "host",
  "memory",
  "kvm",
  "pci",
  "vfio-user",
  "vfio",
  "migration",
  "machine",
  "cli",
];

const FUNCTION_LINES_MAX = 70;
const FILE_LINES_MAX = 700;
const COLUMNS_MAX = 100;

function sources(folder: string): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => join(root, folder, name));
}

const all = ["src", "lab", "test", "bench"]
  .filter((folder) => existsSync(join(root, folder)))
  .flatMap(sources);

test("imports point down", () => {
  const wrong: string[] = [];
  for (const file of sources("src").filter((name) => !name.endsWith(".test.ts"))) {
    const layer = relative(join(root, "src"), file).split("/")[0]!;
    for (const [, target] of readFileSync(file, "utf8").matchAll(/from "(\.[^"]+)"/g)) {
      const imported = relative(join(root, "src"), resolve(file, "..", target!)).split("/")[0]!;
      const known = LAYERS.includes(layer) && LAYERS.includes(imported);
      if (!known || LAYERS.indexOf(imported) > LAYERS.indexOf(layer)) {
        wrong.push(`${relative(root, file)} imports ${target}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});

test("no function is longer than 70 lines", () => {
  const wrong: string[] = [];
  for (const file of all) {
    for (const { line, lines } of functionsOf(readFileSync(file, "utf8"))) {
      if (lines > FUNCTION_LINES_MAX) wrong.push(`${relative(root, file)}:${line} ${lines} lines`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("files stay short and narrow, and open by saying what they are", () => {
  const wrong: string[] = [];
  for (const file of all) {
    const text = readFileSync(file, "utf8");
    const lines = text.split("\n");
    if (lines.length > FILE_LINES_MAX) wrong.push(`${relative(root, file)}: ${lines.length} lines`);
    lines.forEach((line, at) => {
      if (line.length > COLUMNS_MAX && !/https?:\/\/|`/.test(line)) {
        wrong.push(`${relative(root, file)}:${at + 1}: ${line.length} columns`);
      }
    });
    if (!file.endsWith(".test.ts") && !text.startsWith("/**") && !text.startsWith("#!")) {
      wrong.push(`${relative(root, file)}: no header comment`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("banned spellings have a better one", () => {
  const banned: Array<[RegExp, string]> = [
    [/new DataView\(\w+(\.\w+)*\.buffer\)/, "a DataView without byteOffset: use struct().at()"],
    [/& 0xffffffff(?!n)(?!.*>>> 0)/i, "signed in JavaScript: write >>> 0"],
    [/\b(?:FIXME|TODO|XXX)\b/, "finish it, or write what is missing in the docs"],
    [/from "koffi"/, "native code is loaded by src/sys/native.ts alone"],
  ];
  const wrong: string[] = [];
  for (const file of all) {
    if (file.endsWith("tidy.test.ts") || file.endsWith("src/sys/native.ts")) continue;
    readFileSync(file, "utf8")
      .split("\n")
      .forEach((line, at) => {
        for (const [pattern, why] of banned) {
          if (pattern.test(line)) wrong.push(`${relative(root, file)}:${at + 1}: ${why}`);
        }
      });
  }
  assert.deepEqual(wrong, []);
});

test("no folder is called utils, helpers or common, and nothing is a barrel", () => {
  const wrong = all.filter((file) => /\/(utils?|helpers?|common|index)(\/|\.ts$)/.test(file));
  assert.deepEqual(wrong, []);
});
