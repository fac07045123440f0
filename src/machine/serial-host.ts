/**
 * The main thread's end of the serial port: takes the guest's output from shared memory in batches
 * and gives it what was typed. The first byte after a pause is passed on at once; what follows is
 * collected for a few milliseconds, so that a line of output is one wake-up and not eighty.
 */

import type { Serial16550 } from "./serial-16550.ts";

const COLLECT_MS = 4;

export interface SerialSink {
  /** False: take no more until `drained` was called. */
  write(bytes: Uint8Array, drained: () => void): boolean;
}

export class SerialHost implements Disposable {
  readonly #serial: Serial16550;
  readonly #sink: SerialSink;
  #timer: NodeJS.Timeout | undefined;
  #blocked = false;
  #closed = false;
  #typed: Uint8Array[] = [];

  constructor(serial: Serial16550, sink: SerialSink) {
    this.#serial = serial;
    this.#sink = sink;
  }

  /** The port signalled that output waits. */
  outputReady(): void {
    this.#pump(false);
  }

  /** The port signalled that it has room for input. */
  inputWanted(): void {
    for (let next = this.#typed[0]; next !== undefined; next = this.#typed[0]) {
      const taken = this.#serial.offerInput(next);
      if (taken < next.length) {
        this.#typed[0] = next.subarray(taken);
        return;
      }
      this.#typed.shift();
    }
  }

  /** Queues bytes for the guest to read. */
  type(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#typed.push(bytes);
    this.inputWanted();
  }

  /** Passes on what is left; the last words of a guest must not be lost. */
  flush(): void {
    this.#blocked = false;
    this.#pump(true);
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#typed = [];
  }

  #pump(quiet: boolean): void {
    if (this.#blocked || this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const bytes = this.#serial.takeOutput(quiet);
    if (bytes.length === 0) {
      // Nothing came for a while: the next byte shall signal.
      if (!quiet) this.#pump(true);
      return;
    }
    this.#blocked = !this.#sink.write(bytes, () => {
      this.#blocked = false;
      this.#pump(false);
    });
    if (!this.#blocked) this.#timer = setTimeout(() => this.#pump(false), COLLECT_MS);
  }
}
