/** `machine/vcpu-entry.ts`, whose n-th system call fails: `vcpu-calls.test.ts` says which. */

import { getEnvironmentData } from "node:worker_threads";
import { runVcpuThread } from "../../../src/kvm/vcpu-loop.ts";
import { FastPath, type FastPathState } from "../../../src/machine/fast-path.ts";
import { Ledger } from "../../../src/sim/ledger.ts";
import { nativeSyscalls } from "../../../src/sys/native.ts";
import { FAILING_VCPU_CALL, type FailingVcpuCall } from "./failing-vcpu-call.ts";

const given: unknown = getEnvironmentData(FAILING_VCPU_CALL);
const { at, errno, reached } = given as FailingVcpuCall;
const sys = new Ledger(nativeSyscalls());
sys.failAt(at, errno);
try {
  runVcpuThread(sys, (shared, vcpu) => new FastPath(shared as FastPathState, sys, vcpu));
} finally {
  if (!sys.stopFailing()) Atomics.store(reached, 0, 1);
}
