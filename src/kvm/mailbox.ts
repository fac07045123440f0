/**
 * Mailbox: the words that a vCPU's thread and the main thread share. An exit that the thread cannot
 * answer is *posted*: the thread sets `MAILBOX`, signals the doorbell eventfd, which wakes the main
 * thread's event loop, and sleeps. The main thread answers in the run page, which both have, and
 * wakes it. Commands go the other way: `COMMAND` and a new `EPOCH`, then a kick.
 *
 *     thread   runs guest | exit, post ........ sleeps ........ | runs guest
 *     main     ...........| doorbell, answer in run page, wake  | ...
 */

import { check } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";

/** Indices of the shared words. */
const TID = 0;
const COMMAND = 1;
/** Counts commands; a paused thread sleeps on it, and acknowledges by it. */
const EPOCH = 2;
const STATE = 3;
const PAUSED_EPOCH = 4;
const MAILBOX = 5;
/** Where the main thread takes over an access of which the thread has answered a part. */
const START = 6;
/** The errno of a KVM_RUN that failed; 0: the exit is in the run page. */
const RUN_ERRNO = 7;

const WORDS = 16;

export const COMMAND_RUN = 0;
export const COMMAND_PAUSE = 1;
export const COMMAND_STOP = 2;

export const STATE_STARTING = 0;
export const STATE_RUNNING = 1;
export const STATE_PAUSED = 2;
export const STATE_ENDED = 3;

const MAILBOX_EMPTY = 0;
const MAILBOX_POSTED = 1;

const ONE = new BigUint64Array([1n]);

/** The memory for `vcpuCount` mailboxes. */
export function mailboxMemory(vcpuCount: number): SharedArrayBuffer {
  return new SharedArrayBuffer(vcpuCount * WORDS * Int32Array.BYTES_PER_ELEMENT);
}

export class Mailbox {
  readonly #words: Int32Array;

  constructor(buffer: SharedArrayBuffer, vcpuIndex: number) {
    this.#words = new Int32Array(buffer, vcpuIndex * WORDS * 4, WORDS);
  }

  // The vCPU's thread.

  /** Says that the thread is there and can be kicked. */
  begin(tid: number): void {
    Atomics.store(this.#words, TID, tid);
  }

  setState(state: number): void {
    Atomics.store(this.#words, STATE, state);
    Atomics.notify(this.#words, STATE);
  }

  get command(): number {
    return Atomics.load(this.#words, COMMAND);
  }

  get epoch(): number {
    return Atomics.load(this.#words, EPOCH);
  }

  /**
   * Reports the pause that `epoch` asked for and sleeps until the next command.
   * @throws {SysError} nobody would learn of it
   */
  pauseUntilNext(epoch: number, sys: Syscalls, doorbell: number): void {
    Atomics.store(this.#words, PAUSED_EPOCH, epoch);
    this.setState(STATE_PAUSED);
    check(sys.write(doorbell, ONE), "ring the doorbell");
    Atomics.wait(this.#words, EPOCH, epoch);
  }

  /**
   * Posts the exit in the run page and sleeps until it is answered, or the thread must stop.
   * @throws {SysError} the answer would never come
   */
  post(sys: Syscalls, doorbell: number, start: number, runErrno = 0): void {
    const words = this.#words;
    words[START] = start;
    words[RUN_ERRNO] = runErrno;
    Atomics.store(words, MAILBOX, MAILBOX_POSTED);
    check(sys.write(doorbell, ONE), "ring the doorbell");
    // Who gives the command to stop looks at MAILBOX after it, and we at the command after MAILBOX:
    // one of the two sees the other, so that nobody sleeps for ever.
    while (Atomics.load(words, MAILBOX) === MAILBOX_POSTED && this.command !== COMMAND_STOP) {
      Atomics.wait(words, MAILBOX, MAILBOX_POSTED);
    }
  }

  // The main thread.

  get tid(): number {
    return Atomics.load(this.#words, TID);
  }

  get state(): number {
    return Atomics.load(this.#words, STATE);
  }

  get posted(): boolean {
    return Atomics.load(this.#words, MAILBOX) === MAILBOX_POSTED;
  }

  get start(): number {
    return this.#words[START]!;
  }

  get runErrno(): number {
    return this.#words[RUN_ERRNO]!;
  }

  /** The exit is answered: wakes the thread. */
  answer(): void {
    Atomics.store(this.#words, MAILBOX, MAILBOX_EMPTY);
    Atomics.notify(this.#words, MAILBOX, 1);
  }

  /** Gives a command; a paused thread sees it at once, a running one when it is kicked. */
  give(command: number): void {
    Atomics.store(this.#words, COMMAND, command);
    Atomics.add(this.#words, EPOCH, 1);
    Atomics.notify(this.#words, EPOCH);
  }

  /** Whether the thread rests on the last command given. */
  get isPaused(): boolean {
    return this.state === STATE_PAUSED && Atomics.load(this.#words, PAUSED_EPOCH) === this.epoch;
  }

  /** Sleeps until the thread has ended, or `timeoutMs` are over; true when it has. */
  waitForEnd(timeoutMs: number): boolean {
    const state = this.state;
    if (state !== STATE_ENDED) Atomics.wait(this.#words, STATE, state, timeoutMs);
    return this.state === STATE_ENDED;
  }
}
