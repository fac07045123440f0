import assert from "node:assert/strict";
import { test } from "node:test";
import { compareVersions } from "./versions.ts";

test("compareVersions orders as deb-version(7) says", () => {
  const ascending = [
    ["1.0~rc1-1", "1.0-1"],
    ["1.0-1", "1.0-1+deb13u1"],
    ["1.9", "1.10"],
    ["6.12.95-1~bpo12+1", "6.12.95-1"],
    ["7.3.4-1~bpo13+1", "7.3.12-1~bpo13+1"],
    ["9.9", "1:0.1"],
    ["1.0", "1.0a"],
    ["1.0a", "1.0+b"],
    ["1.0-1", "1.0-1.1"],
  ] as const;
  for (const [older, newer] of ascending) {
    assert(compareVersions(older, newer) < 0, `${older} < ${newer}`);
    assert(compareVersions(newer, older) > 0, `${newer} > ${older}`);
  }
  assert.equal(compareVersions("1.02-0", "1.2"), 0);
});
