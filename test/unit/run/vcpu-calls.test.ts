/**
 * The system calls of a vCPU's thread made to fail, one run for each. The main thread's are those
 * of `start.test.ts`.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setEnvironmentData } from "node:worker_threads";
import { code } from "../machine/payload.ts";
import { assertClean } from "./failing-calls.ts";
import { FAILING_VCPU_CALL, type FailingVcpuCall } from "./failing-vcpu-call.ts";
import { EDU, GuestFiles, skip, softwareRun } from "./software-run.ts";

const SLOT = 5;
const CONFIG_ADDRESS = 0xcf8;
const CONFIG_DATA = 0xcfc;

/** Uses every way of an exit: the serial port, a device's config space, and a forwarded port. */
const PROGRAM = [
  ...code.print("ok"),
  ...code.outDword(CONFIG_ADDRESS, (0x8000_0000 | (SLOT << 11)) >>> 0),
  ...code.inDword(CONFIG_DATA),
  ...code.printAl(),
  ...code.inByte(0x71),
  ...code.powerOff(),
];

/** False: the guest ended before the call came. */
async function failCall(files: GuestFiles, at: number, errno: string): Promise<boolean> {
  const failing: FailingVcpuCall = { at, errno, reached: new Int32Array(new SharedArrayBuffer(4)) };
  setEnvironmentData(FAILING_VCPU_CALL, failing as never);
  const vcpuEntry = new URL("./failing-vcpu-entry.js", import.meta.url);
  const args = [
    ...["--kernel", files.image("vmlinuz", PROGRAM), "-m", "64M"],
    ...["--serial", `file:${files.folder}/serial`],
    ...["--device", `vfio-pci,host=${EDU},bus=pcie.0,addr=${SLOT}`],
  ];
  const outcome = await softwareRun(args, { vcpuEntry });
  assertClean(outcome, `call ${at} of the vCPU's thread, ${errno}`);
  return Atomics.load(failing.reached, 0) === 1;
}

for (const errno of ["EIO", "EINTR"]) {
  test(`viaduct run: whichever call of a vCPU's thread is ${errno}, nothing is left`, {
    skip,
  }, async () => {
    using files = new GuestFiles();
    let at = 1;
    while (await failCall(files, at, errno)) at += 1;
    assert.ok(at > 10, `only ${at} calls`);
  });
}
