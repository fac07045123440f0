import assert from "node:assert/strict";
import { test } from "node:test";
import { KVM_SET_REGS } from "../../../src/abi/kvm-x86.ts";
import { BUSY_DEVICES, busyProgram } from "./busy-program.ts";
import { failEveryCall } from "./failing-calls.ts";
import { GuestFiles, skip, softwareRun } from "./software-run.ts";

test("viaduct run: whichever system call fails while the guest uses its devices, nothing is left", {
  skip,
}, async () => {
  using files = new GuestFiles();
  const args = [...files.args(files.image("busy", busyProgram)), ...BUSY_DEVICES];
  const { error, status, left, calls } = await softwareRun(args);
  assert.deepEqual([error, status, left], [undefined, 0, []]);
  const setRegs = ` 0x${KVM_SET_REGS.toString(16)}`;
  const running = calls.findLastIndex(({ detail }) => detail.endsWith(setRegs)) + 1;
  const outcomes = await failEveryCall({ args, from: running + 1 });
  assert.ok(outcomes.length > 100, `only ${outcomes.length} calls`);
});
