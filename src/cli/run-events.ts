/**
 * What a run tells the world beside the guest's output: JSON events, one a line (`--json`), each
 * with `event` and `ms`, the milliseconds since the start. docs/cli.md lists them.
 */

import { closeSync, openSync, writeSync } from "node:fs";
import { ViaductError } from "../sys/sys-error.ts";

export interface RunEvents extends Disposable {
  /** Whether anybody asked for events. */
  readonly listening: boolean;
  emit(event: string, data?: Readonly<Record<string, unknown>>): void;
}

const silent: RunEvents = { listening: false, emit: () => {}, [Symbol.dispose]: () => {} };

/** @param json undefined: nothing; "": stdout; else a file */
export function openRunEvents(json: string | undefined): RunEvents {
  if (json === undefined) return silent;
  const fd = json === "" ? 1 : openForWriting("--json", json);
  let open = true;
  const emit: RunEvents["emit"] = (event, data = {}) => {
    if (!open) return;
    const ms = Math.round(performance.now() * 10) / 10;
    writeSync(fd, `${JSON.stringify({ event, ms, ...data })}\n`);
  };
  // The start as CLOCK_MONOTONIC has it, so that others' times can be set beside these.
  const startMs = Number(process.hrtime.bigint()) / 1e6 - performance.now();
  emit("process", { startMs, nodeMs: performance.nodeTiming.bootstrapComplete });
  return {
    listening: true,
    emit,
    [Symbol.dispose]() {
      if (open && fd !== 1) closeSync(fd);
      open = false;
    },
  };
}

/** @throws {ViaductError} USAGE, naming the option */
export function openForWriting(option: string, path: string): number {
  try {
    return openSync(path, "w");
  } catch (cause) {
    const why = (cause as Error).message;
    throw new ViaductError("USAGE", `${option} ${path}: Cannot write there: ${why}`, {
      cause,
      nextStep: "Name a file that can be written.",
    });
  }
}
