/**
 * Life: which state a machine is in, what it tells of itself, and how it ends. A machine that
 * cannot go on ends with its error, or stays, stopped, for somebody to look at, until they quit.
 */

import type { ViaductError } from "../sys/sys-error.ts";
import type { Cause, MachineEvent } from "./machine-events.ts";
import { type RunState, RunStates } from "./run-state.ts";

export type EndReason = "guest-shutdown" | "guest-reset" | "host-quit" | "triple-fault" | "error";

export interface MachineEnd {
  readonly reason: EndReason;
  /** With `error` and `triple-fault`. */
  readonly error?: ViaductError;
}

export interface LifeOptions {
  /** Stay in `internal-error` until `quit`. */
  readonly stayOnError: boolean;
  readonly onEvent: (event: MachineEvent) => void;
  /** The machine cannot go on and stays: the vCPUs are to be stopped. */
  readonly onStay: (error: ViaductError) => void;
}

export class Life {
  /** Settles when the end has been decided. */
  readonly ended: Promise<MachineEnd>;
  readonly #options: LifeOptions;
  readonly #states: RunStates;
  #settle: (end: MachineEnd) => void = () => {};
  /** Why the machine stays in `internal-error`. */
  #failure: ViaductError | undefined;

  constructor(options: LifeOptions) {
    this.#options = options;
    this.#states = new RunStates((state, before) => this.tell({ type: "state", state, before }));
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  get state(): RunState {
    return this.#states.current;
  }

  /** The guest will not run again. */
  get over(): boolean {
    return this.#states.ended;
  }

  enter(state: RunState): void {
    this.#states.enter(state);
  }

  tell(event: MachineEvent): void {
    this.#options.onEvent(event);
  }

  fail(error: ViaductError): void {
    if (this.over) return;
    // Before the guest ran there is nothing to look at.
    const stays = this.#options.stayOnError && this.state !== "prelaunch";
    this.enter("internal-error");
    if (stays) {
      this.#failure = error;
      this.#options.onStay(error);
      return;
    }
    this.tell({ type: "shutdown", cause: "host-error" });
    this.#settle({ reason: "error", error });
  }

  end(reason: EndReason, cause: Cause, error?: ViaductError): void {
    if (this.over) return;
    this.enter("shutdown");
    this.tell({ type: "shutdown", cause });
    this.#settle(error === undefined ? { reason } : { reason, error });
  }

  quit(cause: Cause): void {
    if (this.#failure === undefined) {
      this.end("host-quit", cause);
    } else if (this.state === "internal-error") {
      this.enter("shutdown");
      this.tell({ type: "shutdown", cause });
      this.#settle({ reason: "error", error: this.#failure });
    }
  }
}
