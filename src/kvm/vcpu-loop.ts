/**
 * The loop of a vCPU's Worker: KVM_RUN, and an answer to what came out. Its caller is the Worker's
 * entry file, which brings the `InThreadExits`. A kick (`immediate_exit` and a signal) makes KVM_RUN
 * return EINTR; only then are commands looked at, because KVM completes the last port or MMIO read
 * on the way into that KVM_RUN, so that a paused vCPU has no access half done.
 */

import { workerData } from "node:worker_threads";
import { errnoNumber } from "../abi/errno.ts";
import {
  KVM_EXIT_HLT,
  KVM_EXIT_INTERNAL_ERROR,
  KVM_EXIT_INTR,
  KVM_EXIT_IO,
  KVM_EXIT_IOAPIC_EOI,
  KVM_EXIT_IRQ_WINDOW_OPEN,
  KVM_EXIT_MMIO,
  KVM_EXIT_SHUTDOWN,
  KVM_EXIT_SYSTEM_EVENT,
  KVM_RUN,
} from "../abi/kvm-exit.ts";
import { check } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { EXIT_KINDS, type ExitKind, VcpuExitCounters } from "./exit-counters.ts";
import { ANSWERED, answerInThread, type InThreadExits } from "./exit-handler.ts";
import { COMMAND_RUN, COMMAND_STOP, Mailbox, STATE_ENDED, STATE_RUNNING } from "./mailbox.ts";
import { RunPage } from "./run-page.ts";

/** What `VcpuThreads` hands to a Worker. */
export interface VcpuWorkerData {
  readonly viaductVcpu: {
    readonly id: number;
    readonly index: number;
    readonly fd: number;
    readonly doorbell: number;
    readonly run: { buffer: SharedArrayBuffer; byteOffset: number; size: number };
    readonly mailboxes: SharedArrayBuffer;
    readonly counters: SharedArrayBuffer;
  };
  /** The entry's own part. */
  readonly shared: unknown;
}

/**
 * Runs this Worker's vCPU until it is told to stop. The entry file's only call.
 * @param makeExits makes what answers in this thread, from the `shared` given to `VcpuThreads`
 */
export function runVcpuThread(
  sys: Syscalls,
  makeExits: (shared: unknown, vcpuId: number) => InThreadExits,
): void {
  const { viaductVcpu: given, shared } = workerData as VcpuWorkerData;
  const mailbox = new Mailbox(given.mailboxes, given.index);
  try {
    const loop = new VcpuLoop(sys, given, mailbox, makeExits(shared, given.id));
    mailbox.begin(check(sys.gettid(), "gettid"));
    loop.run();
  } finally {
    mailbox.setState(STATE_ENDED);
  }
}

/** Numbers of the kinds, so that the loop counts without a look-up. */
const KIND = Object.fromEntries(EXIT_KINDS.map((name, at) => [name, at])) as Record<
  ExitKind,
  number
>;

/** Exits after which the guest cannot simply go on. */
const FINAL: ReadonlyMap<number, number> = new Map([
  [KVM_EXIT_HLT, KIND.hlt],
  [KVM_EXIT_SHUTDOWN, KIND.shutdown],
  [KVM_EXIT_SYSTEM_EVENT, KIND["system-event"]],
  [KVM_EXIT_INTERNAL_ERROR, KIND.error],
]);

class VcpuLoop {
  readonly #sys: Syscalls;
  readonly #fd: number;
  readonly #doorbell: number;
  readonly #run: RunPage;
  readonly #mailbox: Mailbox;
  readonly #counters: VcpuExitCounters;
  readonly #exits: InThreadExits;
  readonly #eintr = -errnoNumber("EINTR");
  readonly #eagain = -errnoNumber("EAGAIN");

  constructor(
    sys: Syscalls,
    given: VcpuWorkerData["viaductVcpu"],
    mailbox: Mailbox,
    exits: InThreadExits,
  ) {
    this.#sys = sys;
    this.#fd = given.fd;
    this.#doorbell = given.doorbell;
    this.#run = new RunPage(given.run.buffer, given.run.byteOffset, given.run.size);
    this.#mailbox = mailbox;
    this.#counters = new VcpuExitCounters(given.counters, given.index);
    this.#exits = exits;
  }

  run(): void {
    while (this.#obey(false)) this.#runUntilKicked();
  }

  /** Obeys the present command; with `rest`, waits for a new one. False: stop. */
  #obey(rest: boolean): boolean {
    const mailbox = this.#mailbox;
    for (let resting = rest; ; resting = false) {
      const epoch = mailbox.epoch;
      const command = mailbox.command;
      if (command === COMMAND_STOP) return false;
      if (command === COMMAND_RUN && !resting) {
        mailbox.setState(STATE_RUNNING);
        return true;
      }
      mailbox.pauseUntilNext(epoch, this.#sys, this.#doorbell);
    }
  }

  /** Runs the guest and answers its exits until there may be a command. */
  #runUntilKicked(): void {
    const run = this.#run;
    for (;;) {
      const result = this.#sys.ioctl(this.#fd, KVM_RUN, 0);
      if (result < 0) {
        if (!this.#interrupted(result)) continue;
        return;
      }
      const reason = run.exitReason;
      if (reason === KVM_EXIT_IO || reason === KVM_EXIT_MMIO) {
        this.#answerAccess(reason);
      } else if (reason === KVM_EXIT_IOAPIC_EOI) {
        this.#forward(KIND["ioapic-eoi"]);
      } else if (reason === KVM_EXIT_INTR || reason === KVM_EXIT_IRQ_WINDOW_OPEN) {
        this.#counters.count(KIND.other, false);
      } else {
        this.#forward(FINAL.get(reason) ?? KIND.other);
        this.#obey(true);
        return;
      }
    }
  }

  #answerAccess(reason: number): void {
    const run = this.#run;
    const kind =
      reason === KVM_EXIT_IO
        ? run.ioIsWrite
          ? KIND["pio-write"]
          : KIND["pio-read"]
        : run.mmioIsWrite
          ? KIND["mmio-write"]
          : KIND["mmio-read"];
    const left = answerInThread(run, this.#exits);
    if (left === ANSWERED) this.#counters.count(kind, false);
    else this.#forward(kind, left);
  }

  #forward(kind: number, start = 0, errno = 0): void {
    this.#counters.count(kind, true);
    this.#mailbox.post(this.#sys, this.#doorbell, start, errno);
  }

  /** KVM_RUN failed. True: look for a command. */
  #interrupted(result: number): boolean {
    // A signal meant for another thread also ends here; the guest just goes on.
    if (result === this.#eintr) {
      this.#counters.count(KIND.signal, false);
      this.#run.setImmediateExit(false);
      return true;
    }
    // A waiting processor was woken by INIT or SIPI and is to be run again.
    if (result === this.#eagain) return false;
    this.#forward(KIND.error, 0, -result);
    this.#obey(true);
    return true;
  }
}
