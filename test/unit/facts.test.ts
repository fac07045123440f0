/** docs/facts.md and the tests it names. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { FACTS, factsOf, factTests, root } from "../facts.ts";

const COUNTS = { F: 28, Q: 17, I: 15 };
const ids = Object.entries(COUNTS).flatMap(([letter, count]) =>
  Array.from({ length: count }, (_, i) => `${letter}${i + 1}`),
);

test("every fact has a sentence and a test", () => {
  assert.deepEqual([...FACTS.keys()], ids);
  const shown = new Set(factTests().flatMap(({ facts }) => facts));
  assert.deepEqual(
    ids.filter((id) => !shown.has(id)),
    [],
  );
});

test("docs/facts.md has every fact, and no test that does not exist", () => {
  const tests = factTests();
  const rows = readFileSync(join(root, "docs/facts.md"), "utf8")
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .slice(2)
    .map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|")));
  const listed = rows.map(([, id]) => id).filter((id) => id !== "");
  assert.deepEqual(listed, ids);
  const wrong = rows.filter(
    ([, , , name, file]) => !tests.some((it) => it.file === file && it.name.test(name!)),
  );
  assert.deepEqual(wrong, [], "npm run facts writes the page anew");
});

test("factsOf finds each id of a name, and no longer one that begins alike", () => {
  assert.deepEqual(factsOf("spec F1, spec F12: both"), ["F1", "F12"]);
  assert.deepEqual(factsOf("spec T4: of another specification"), []);
});
