import assert from "node:assert/strict";
import { test } from "node:test";
import { failEveryCall } from "./failing-calls.ts";
import { assign, EDU, GuestFiles, MSIX, skip, softwareRun } from "./software-run.ts";

test("viaduct run: a guest with two devices ends and leaves the host as it was", {
  skip,
}, async () => {
  using files = new GuestFiles();
  const { error, status, left } = await softwareRun([
    ...files.args(),
    ...assign(EDU),
    ...assign(MSIX),
  ]);
  assert.deepEqual([error, status, left], [undefined, 0, []]);
});

test("viaduct run: whichever system call of start and end fails, nothing is left", {
  skip,
}, async () => {
  using files = new GuestFiles();
  const args = [...files.args(), ...assign(EDU), ...assign(MSIX)];
  const outcomes = await failEveryCall({ args });
  assert.ok(outcomes.length > 150, `only ${outcomes.length} calls`);
  const refused = outcomes.filter(({ error }) => error !== undefined);
  assert.ok(refused.length > 60, `only ${refused.length} of ${outcomes.length} were refused`);
  const devices = refused.filter(({ error }) => /0000:0[12]:00\.0/.test(String(error)));
  assert.ok(devices.length > 40, "those of a device name it");
});
