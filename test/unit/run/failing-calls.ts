/**
 * Every system call of a run made to fail, one run for each: nothing may be left behind, and who
 * typed the command must read what to do. (`failEachCall` of sim/ledger.ts does this for what is
 * not asynchronous.)
 */

import assert from "node:assert/strict";
import { EXIT } from "../../../src/cli/exit-status.ts";
import { ViaductError } from "../../../src/sys/sys-error.ts";
import { type Outcome, type RunSetup, softwareRun } from "./software-run.ts";

/** Runs at a time: their vCPU threads load while others run. */
const LANES = 4;

export interface Sweep {
  readonly args: readonly string[];
  readonly setup?: RunSetup;
  /** The first call to fail, 1 unless told: the calls before it are another sweep's. */
  readonly from?: number;
  readonly errno?: string;
}

/**
 * Fails the calls from `from` on, until a run ends before the call comes.
 * @returns what came of each
 */
export async function failEveryCall(sweep: Sweep): Promise<Outcome[]> {
  const { args, setup = {}, from = 1, errno = "EIO" } = sweep;
  const outcomes: Outcome[] = [];
  let next = from;
  let reachedTheEnd = false;
  const lane = async () => {
    while (!reachedTheEnd) {
      const at = next++;
      const outcome = await softwareRun(args, setup, { at, errno });
      if (outcome.failed === undefined) reachedTheEnd = true;
      else outcomes.push(outcome);
      assertClean(outcome, `call ${at} ${outcome.failed?.name} ${outcome.failed?.detail} ${errno}`);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return outcomes;
}

/** Nothing is left, and what was thrown is for a person to read. */
export function assertClean({ error, status, left }: Outcome, what: string): void {
  assert.deepEqual(left, [], what);
  if (error === undefined) {
    // Survived, or the guest was ended for it: then `run` has said why.
    assert.ok(status === EXIT.DONE || status === EXIT.GUEST_FAILED, `${what}: status ${status}`);
    return;
  }
  assertReadable(error, what);
}

/** @returns the error */
export function assertReadable(error: unknown, what: string): ViaductError {
  if (!(error instanceof ViaductError)) assert.fail(`${what}: ${String(error)}`);
  assert.match(error.message, /\w.*: \w/, what);
  assert.ok(error.nextStep.length > 10, `${what}: ${error.message}`);
  assert.doesNotMatch(`${error.message} ${error.nextStep}`, /undefined|\[object|NaN|errno -?\d/);
  return error;
}
