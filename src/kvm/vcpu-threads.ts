/**
 * VcpuThreads: one Worker per vCPU, all started, paused, resumed and stopped together. The Workers
 * load while the machine is being put together and wait for the first `resume()`.
 *
 * A vCPU in KVM_RUN is kicked: `immediate_exit` is set, and a real-time signal interrupts the
 * system call (its handler does nothing). Node hangs at exit while a Worker is blocked in a system
 * call, so a hook kicks them all.
 */

import { Worker } from "node:worker_threads";
import { errnoName } from "../abi/errno.ts";
import { SIGRTMIN } from "../abi/signal.ts";
import { EventFd } from "../sys/event-fd.ts";
import { Owner } from "../sys/owner.ts";
import { check, SysError, ViaductError } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { ExitCounters } from "./exit-counters.ts";
import { answerExit, type ExitHandler } from "./exit-handler.ts";
import {
  COMMAND_PAUSE,
  COMMAND_RUN,
  COMMAND_STOP,
  Mailbox,
  mailboxMemory,
  STATE_ENDED,
} from "./mailbox.ts";
import type { Vcpu } from "./vcpu.ts";
import type { VcpuWorkerData } from "./vcpu-loop.ts";

/** Not used by Node, by V8 (SIGUSR1 is its inspector's) or by the C library. */
const KICK_SIGNAL = SIGRTMIN + 8;

/** A kick takes 22 us (measured); a thread that is not gone after this is kicked again. */
const KICK_AGAIN_MS = 20;
const STOP_LIMIT_MS = 5000;

export interface VcpuThreadsOptions {
  /** Borrowed; must outlive the threads. */
  readonly vcpus: readonly Vcpu[];
  /** The Worker's module: it calls `runVcpuThread`. */
  readonly entry: URL;
  /** For the entry: goes to every Worker as `workerData` does (SharedArrayBuffers are shared). */
  readonly shared?: unknown;
  readonly handler: ExitHandler;
  /** A Worker failed by itself: a bug, or no memory. The others still run. */
  readonly onCrash: (error: ViaductError) => void;
}

interface Thread {
  readonly vcpu: Vcpu;
  readonly mailbox: Mailbox;
  readonly worker: Worker;
  readonly ended: Promise<void>;
  /** Set when the Worker has ended, for whatever reason. */
  readonly gone: { yes: boolean };
}

export class VcpuThreads implements Disposable {
  readonly counters: ExitCounters;
  readonly #sys: Syscalls;
  readonly #handler: ExitHandler;
  readonly #doorbell: EventFd;
  readonly #owner = new Owner();
  #threads: readonly Thread[] = [];
  #pauseWaiters: Array<() => void> = [];
  #stopped = false;

  private constructor(sys: Syscalls, options: VcpuThreadsOptions, doorbell: EventFd) {
    this.#sys = sys;
    this.#handler = options.handler;
    this.#doorbell = doorbell;
    this.#owner.own(doorbell);
    this.counters = new ExitCounters(options.vcpus.length);
  }

  /** Starts the Workers, paused. @throws {SysError} eventfd, sigaction */
  static create(sys: Syscalls, options: VcpuThreadsOptions): VcpuThreads {
    using owner = new Owner();
    const doorbell = owner.own(EventFd.create(sys));
    check(sys.ignoreWithHandler(KICK_SIGNAL), "sigaction");
    const threads = owner.own(new VcpuThreads(sys, options, doorbell));
    threads.#start(options);
    owner.move();
    return threads;
  }

  /** Resolves when every Worker is loaded, or `pause()` took effect: no vCPU runs. */
  async paused(): Promise<void> {
    const rests = ({ mailbox, gone }: Thread) => gone.yes || mailbox.isPaused;
    while (!this.#stopped && !this.#threads.every(rests)) {
      await new Promise<void>((wake) => {
        this.#pauseWaiters.push(wake);
      });
    }
  }

  /** Lets every vCPU run. */
  resume(): void {
    for (const { mailbox } of this.#threads) mailbox.give(COMMAND_RUN);
  }

  /**
   * Brings every vCPU to rest between two instructions; resolves then. An exit that waits for the
   * main thread is answered first, so this may be called from an `ExitHandler`.
   */
  pause(): Promise<void> {
    for (const thread of this.#threads) {
      thread.mailbox.give(COMMAND_PAUSE);
      this.#kick(thread);
    }
    return this.#kickingUntil(this.paused());
  }

  /** Ends every thread; resolves when the Workers are gone. */
  async stop(): Promise<void> {
    this.#commandStop();
    await this.#kickingUntil(Promise.all(this.#threads.map(({ ended }) => ended)));
    this[Symbol.dispose]();
  }

  /** Interrupts vCPU `index` once; it goes on at once. For tests and measurements. */
  kick(index: number): void {
    this.#kick(this.#threads[index]!);
  }

  /** Ends every thread and waits for them, without the event loop. Idempotent. */
  [Symbol.dispose](): void {
    if (this.#stopped) return;
    this.#commandStop();
    const limit = Date.now() + STOP_LIMIT_MS;
    for (const thread of this.#threads) {
      // A Worker that is still loading sees the command before it does anything, and ends itself.
      // Not terminated: koffi aborts the process when its loading is cut off (measured).
      if (thread.mailbox.tid === 0) continue;
      while (!thread.mailbox.waitForEnd(KICK_AGAIN_MS) && Date.now() < limit) this.#kick(thread);
    }
    this.#stopped = true;
    this.#wakePauseWaiters();
    this.#owner[Symbol.dispose]();
  }

  #start(options: VcpuThreadsOptions): void {
    const mailboxes = mailboxMemory(options.vcpus.length);
    this.#threads = options.vcpus.map((vcpu, index) => {
      const mailbox = new Mailbox(mailboxes, index);
      mailbox.give(COMMAND_PAUSE);
      const { buffer, byteOffset, size } = vcpu.runMemory;
      const workerData: VcpuWorkerData = {
        viaductVcpu: {
          id: vcpu.id,
          index,
          fd: vcpu.fd,
          doorbell: this.#doorbell.fd,
          run: { buffer, byteOffset, size },
          mailboxes,
          counters: this.counters.buffer,
        },
        shared: options.shared,
      };
      const worker = new Worker(options.entry, { workerData, name: `vcpu${vcpu.id}` });
      worker.on("error", (cause) => {
        const message = `vCPU ${vcpu.id}: its thread failed: ${cause.message}`;
        options.onCrash(new ViaductError("KVM_FAILED", message, { cause }));
      });
      const gone = { yes: false };
      const ended = new Promise<void>((resolve) => {
        worker.once("exit", () => {
          gone.yes = true;
          this.#wakePauseWaiters();
          resolve();
        });
      });
      return { vcpu, mailbox, worker, ended, gone };
    });
    const readiness = this.#sys.onReadable(this.#doorbell.fd, () => this.#answerDoorbell());
    this.#owner.defer(() => readiness[Symbol.dispose]());
    const hook = () => this[Symbol.dispose]();
    process.on("exit", hook);
    this.#owner.defer(() => process.off("exit", hook));
  }

  #answerDoorbell(): void {
    this.#doorbell.drain();
    for (const thread of this.#threads) {
      if (thread.mailbox.posted) this.#answer(thread);
    }
    if (this.#pauseWaiters.length > 0) this.#wakePauseWaiters();
  }

  #answer({ vcpu, mailbox }: Thread): void {
    const errno = mailbox.runErrno;
    if (errno === 0) {
      this.#answerExit(vcpu, mailbox.start);
    } else {
      const what = `KVM_RUN: ${errnoName(errno)}`;
      this.#handler.internalError({ vcpu: vcpu.id, what, data: [] });
    }
    mailbox.answer();
  }

  /** What the host refuses while it answers ends the guest, not this process. */
  #answerExit(vcpu: Vcpu, start: number): void {
    try {
      answerExit(vcpu.run, vcpu.id, start, this.#handler);
    } catch (error) {
      if (!(error instanceof SysError || error instanceof ViaductError)) throw error;
      this.#handler.internalError({ vcpu: vcpu.id, what: error.message, data: [] });
    }
  }

  #wakePauseWaiters(): void {
    const waiters = this.#pauseWaiters;
    this.#pauseWaiters = [];
    for (const wake of waiters) wake();
  }

  #commandStop(): void {
    for (const thread of this.#threads) {
      thread.mailbox.give(COMMAND_STOP);
      this.#kick(thread);
      // Nobody answers any more: an exit that waits ends with what is in the run page.
      if (thread.mailbox.posted) thread.mailbox.answer();
    }
  }

  /** A kick can fail (the user's limit of queued signals): it is given again until `done`. */
  async #kickingUntil(done: Promise<unknown>): Promise<void> {
    const timer = setInterval(() => {
      for (const thread of this.#threads) {
        if (!thread.gone.yes && !thread.mailbox.isPaused) this.#kick(thread);
      }
    }, KICK_AGAIN_MS);
    try {
      await done;
    } finally {
      clearInterval(timer);
    }
  }

  #kick({ vcpu, mailbox }: Thread): void {
    if (mailbox.state === STATE_ENDED) return;
    vcpu.run.setImmediateExit(true);
    // A thread that has not begun yet looks at its command first; one that ended is ESRCH.
    if (mailbox.tid !== 0) this.#sys.tgkill(this.#sys.getpid(), mailbox.tid, KICK_SIGNAL);
  }
}
