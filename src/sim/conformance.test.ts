import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";
import { nativeSyscalls } from "../sys/native.ts";
import { conformanceProgram } from "./conformance.ts";
import { eduSpec } from "./devices/edu.ts";
import { SoftwareHost } from "./host.ts";
import { Ledger } from "./ledger.ts";

/** What Linux answers: a line an ioctl, for a device with INTx and a legacy type 1 container. */
const EXPECTED = readFileSync(
  resolve(import.meta.dirname, "../../../test/unit/fixtures/vfio-conformance.txt"),
  "utf8",
)
  .trimEnd()
  .split("\n");

test("the software host answers the conformance program as written, and leaves nothing", () => {
  using host = new SoftwareHost(nativeSyscalls());
  host.addDevice(eduSpec("0000:01:00.0"), 3);
  const ledger = new Ledger(host);
  const lines = conformanceProgram(ledger, 3, "0000:01:00.0");
  assert.deepEqual(lines, EXPECTED);
  assert.deepEqual(ledger.live(), []);
  assert.deepEqual(host.describe(), []);
});
