import assert from "node:assert/strict";
import { test } from "node:test";
import { ramLayout } from "./ram-layout.ts";

const MIB = 1n << 20n;

test("ramLayout keeps small RAM in one piece below the hole", () => {
  assert.deepEqual(ramLayout(512n * MIB), [{ address: 0n, size: 512n * MIB }]);
});

test("ramLayout continues at 4 GiB what does not fit below the hole", () => {
  assert.deepEqual(ramLayout(6144n * MIB), [
    { address: 0n, size: 2048n * MIB },
    { address: 4096n * MIB, size: 4096n * MIB },
  ]);
});
