/** What the two threads of `exits.ts` share: which batch runs, how far it is, when it began. */

/** Goes to the Worker; all of it is shared memory. */
export interface ExitsBatch {
  readonly words: Int32Array;
  /** Nanoseconds of the first and the last exit. */
  readonly times: Float64Array;
  /** `SharedConfig.buffer`: config space as the machine has it. */
  readonly config: SharedArrayBuffer;
}

export const WORD = { FORWARD: 0, COUNT: 1, DONE: 2, LAST_WRITTEN: 3 } as const;

export const CONFIG_PAGE = 0xd000_0000;
export const DEVICE_PAGE = 0xe000_0000;
export const DEVICE_PORT = 0x20;

/** What every read answers, but those of config space. */
export const TO_READ = 0x1234;

/** Nanoseconds; both threads have the same clock (CLOCK_MONOTONIC). */
export function now(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e9 + nanoseconds;
}
