/**
 * The states of a machine, named as QEMU names them, and which may follow which. A transition that
 * is not in the table is a bug of ours, so it is asserted.
 */

import assert from "node:assert/strict";

export type RunState =
  | "prelaunch"
  | "running"
  | "paused"
  | "resetting"
  | "shutdown"
  | "guest-panicked"
  | "internal-error";

const NEXT: Readonly<Record<RunState, readonly RunState[]>> = {
  prelaunch: ["running", "shutdown", "internal-error"],
  running: ["paused", "resetting", "shutdown", "guest-panicked", "internal-error"],
  paused: ["running", "resetting", "shutdown", "internal-error"],
  resetting: ["running", "paused", "shutdown", "internal-error"],
  "guest-panicked": ["resetting", "shutdown"],
  "internal-error": ["shutdown"],
  shutdown: [],
};

export class RunStates {
  #state: RunState = "prelaunch";
  readonly #changed: (state: RunState, before: RunState) => void;

  constructor(changed: (state: RunState, before: RunState) => void) {
    this.#changed = changed;
  }

  get current(): RunState {
    return this.#state;
  }

  /** Whether the guest's end has been decided. */
  get ended(): boolean {
    return NEXT[this.#state].every((state) => state === "shutdown");
  }

  enter(state: RunState): void {
    assert.ok(NEXT[this.#state].includes(state), `${this.#state} -> ${state}`);
    const before = this.#state;
    this.#state = state;
    this.#changed(state, before);
  }
}
