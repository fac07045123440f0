import assert from "node:assert/strict";
import { test } from "node:test";
import { type DiscardRequest, RamDiscardPolicy } from "./discard-policy.ts";

const REQUESTS: readonly DiscardRequest[] = [
  "disable",
  "disableUncoordinated",
  "require",
  "requireCoordinated",
];

test("RamDiscardPolicy refuses what excludes each other with EBUSY, and nothing else", () => {
  const refused = REQUESTS.flatMap((held) =>
    REQUESTS.filter((wanted) => {
      const policy = new RamDiscardPolicy();
      policy.request(held);
      try {
        policy.request(wanted);
        return false;
      } catch (error) {
        assert.equal((error as { code: string }).code, "EBUSY");
        return true;
      }
    }).map((wanted) => `${held} x ${wanted}`),
  );
  assert.deepEqual(refused, [
    "disable x require",
    "disable x requireCoordinated",
    "disableUncoordinated x require",
    "require x disable",
    "require x disableUncoordinated",
    "requireCoordinated x disable",
  ]);
});

test("RamDiscardPolicy counts: a request ends once, however often it is disposed", () => {
  const policy = new RamDiscardPolicy();
  const first = policy.request("disableUncoordinated");
  policy.request("disableUncoordinated");
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  assert.equal(policy.count("disableUncoordinated"), 1);
  assert.equal(policy.isDisabled, true);
});
