/**
 * The software host against what Linux 7.3 answered to the same programs in the lab
 * (`test/lab/conformance.test.ts`, which compares with the kernels of today).
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";
import { Ledger } from "../../src/sim/ledger.ts";
import { softwareHostWith, softwarePlace } from "../conformance/subjects.ts";
import { runConformance, SUBJECTS, type SubjectName } from "../conformance/suite.ts";

function recorded(subject: SubjectName): string[] {
  const file = `../../../test/unit/fixtures/conformance-${subject}.txt`;
  return readFileSync(resolve(import.meta.dirname, file), "utf8")
    .trimEnd()
    .split("\n");
}

for (const subject of Object.keys(SUBJECTS) as SubjectName[]) {
  test(`the software host's ${subject} answers every program as Linux does, and leaves nothing`, () => {
    using host = softwareHostWith(subject);
    const ledger = new Ledger(host);
    assert.deepEqual(runConformance(ledger, softwarePlace(subject)), recorded(subject));
    assert.deepEqual(ledger.live(), []);
    assert.deepEqual(host.describe(), []);
  });
}

test("conformance programs have names of their own, and are some hundreds", () => {
  const names = recorded("edu").map((line) => line.slice(0, line.lastIndexOf(": ")));
  assert(names.length >= 800, `${names.length}`);
  const distinct = new Set(recorded("edu").map((line) => line.split(": ")[0]));
  assert.equal(distinct.size, names.length);
});
