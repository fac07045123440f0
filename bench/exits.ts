/**
 * What a trapped access costs: answered in the vCPU's Worker and forwarded to the main thread,
 * against the same guest loop with its exits answered by C (`exits-loop.c`, built here with the
 * machine's `cc`). All threads run on one CPU, and batches of the three are interleaved, because the
 * machine's speed drifts more than the difference is.
 *
 *     node dist/bench/exits.js [--json] [--rounds=40] [--exits=2000] [--cpu=0]
 */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import type { ExitHandler } from "../src/kvm/exit-handler.ts";
import { asm, skipWithoutKvm, TinyMachine } from "../src/kvm/tiny-machine.ts";
import { ConfigSpace } from "../src/pci/config-space.ts";
import { SharedConfig } from "../src/pci/shared-config.ts";
import { nativeSyscalls } from "../src/sys/native.ts";
import { check } from "../src/sys/sys-error.ts";
import {
  CONFIG_PAGE,
  DEVICE_PAGE,
  DEVICE_PORT,
  type ExitsBatch,
  now,
  TO_READ,
  WORD,
} from "./exits-batch.ts";
import { median } from "./median.ts";

/** An endless loop around one access, by name. */
const LOOPS = {
  "PIO write": endless(asm.movDx(DEVICE_PORT), asm.outEax),
  "PIO read": endless(asm.movDx(DEVICE_PORT), asm.inEax),
  "MMIO write": endless([], asm.storeEax(DEVICE_PAGE)),
  "MMIO read": endless([], asm.loadEax(DEVICE_PAGE)),
  "config read": endless([], asm.loadEax(CONFIG_PAGE)),
} as const;

type LoopName = keyof typeof LOOPS;

/** A batch may pay for another process's turn; the ratio of a batch to its neighbour may not. */
const TARGETS = { inThread: 1.15, forwarded: 2.5 };

interface Figures {
  readonly access: string;
  /** Nanoseconds an exit, medians. */
  readonly c: number;
  readonly inThread: number;
  readonly forwarded: number;
  /** Medians of the rounds' ratios to C. */
  readonly inThreadRatio: number;
  readonly forwardedRatio: number;
}

function endless(before: readonly number[], access: readonly number[]): number[] {
  return [...before, ...access, 0xeb, 256 - access.length - 2];
}

/** The C loop, one batch at a time. */
class CLoop implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "viaduct-bench-"));
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor() {
    const source = resolve(import.meta.dirname, "../../bench/exits-loop.c");
    const program = join(this.#folder, "exits-loop");
    execFileSync("cc", ["-O2", "-o", program, source]);
    this.#child = spawn(program, { stdio: ["pipe", "pipe", "inherit"] });
    this.#lines = createInterface(this.#child.stdout!)[Symbol.asyncIterator]();
  }

  async batch(code: readonly number[], exits: number): Promise<number> {
    const hex = Buffer.from(code).toString("hex");
    this.#child.stdin!.write(`${exits} ${hex}\n`);
    const line = await this.#lines.next();
    if (line.done) throw new Error("the C loop ended");
    return Number(line.value);
  }

  [Symbol.dispose](): void {
    this.#child.stdin!.end();
    rmSync(this.#folder, { recursive: true });
  }
}

/** Our loop: the product's threads and mailbox, with handlers that do as little as the C ones. */
class OurLoop {
  readonly #config = new SharedConfig();
  readonly #space = new ConfigSpace("bench", 4096, this.#config.allocate());
  readonly #batch: ExitsBatch = {
    words: new Int32Array(new SharedArrayBuffer(64)),
    times: new Float64Array(new SharedArrayBuffer(16)),
    config: this.#config.buffer,
  };
  readonly #machine: TinyMachine;
  #exits = 0;
  #done = 0;
  #finished: (() => void) | undefined;

  constructor() {
    this.#config.publish([[0, this.#space.memory]]);
    this.#machine = new TinyMachine({
      sys: nativeSyscalls(),
      entry: new URL("exits-entry.js", import.meta.url),
      shared: this.#batch,
      handler: this.#handler(),
    });
  }

  async batch(code: readonly number[], exits: number, forward: boolean): Promise<number> {
    const { words, times } = this.#batch;
    await this.#machine.threads.pause();
    this.#machine.load([code]);
    words[WORD.FORWARD] = forward ? 1 : 0;
    words[WORD.COUNT] = exits;
    words[WORD.DONE] = 0;
    this.#done = 0;
    this.#exits = forward ? exits : 1;
    const finished = new Promise<void>((resolve) => {
      this.#finished = resolve;
    });
    this.#machine.threads.resume();
    await finished;
    await this.#machine.threads.pause();
    return (times[1]! - times[0]!) / (exits - 1);
  }

  end(): Promise<string[]> {
    return this.#machine.end();
  }

  #handler(): ExitHandler {
    const ignore = () => {};
    const fail = (what: unknown) => {
      throw new Error(`the guest stopped: ${JSON.stringify(what)}`);
    };
    return {
      pioRead: () => {
        this.#count();
        return TO_READ;
      },
      pioWrite: (_port, _size, value) => {
        this.#batch.words[WORD.LAST_WRITTEN] = value;
        this.#count();
      },
      mmioRead: (gpa, size) => {
        this.#count();
        const offset = Number(gpa) - CONFIG_PAGE;
        const inConfig = offset >= 0 && offset < 4096;
        return BigInt(inConfig ? this.#space.read(offset, size) : TO_READ);
      },
      mmioWrite: (_gpa, _size, value) => {
        this.#batch.words[WORD.LAST_WRITTEN] = Number(value);
        this.#count();
      },
      ioapicEoi: ignore,
      systemEvent: fail,
      shutdown: fail,
      halted: fail,
      internalError: (failure) => fail(failure.what),
    };
  }

  #count(): void {
    const forward = this.#batch.words[WORD.FORWARD] !== 0;
    if (forward && this.#done === 0) this.#batch.times[0] = now();
    this.#done += 1;
    if (this.#done !== this.#exits) return;
    if (forward) this.#batch.times[1] = now();
    this.#finished?.();
  }
}

async function measure(name: LoopName, rounds: number, exits: number, c: CLoop, our: OurLoop) {
  const code = LOOPS[name];
  const times = { c: [] as number[], inThread: [] as number[], forwarded: [] as number[] };
  const ratios = { inThread: [] as number[], forwarded: [] as number[] };
  const warmUp = 3;
  for (let round = -warmUp; round < rounds; round++) {
    const inC = await c.batch(code, exits);
    const inThread = await our.batch(code, exits, false);
    const forwarded = await our.batch(code, exits, true);
    const inCAfter = await c.batch(code, exits);
    if (round < 0) continue;
    times.c.push(inC, inCAfter);
    times.inThread.push(inThread);
    times.forwarded.push(forwarded);
    ratios.inThread.push((2 * inThread) / (inC + inCAfter));
    ratios.forwarded.push((2 * forwarded) / (inC + inCAfter));
  }
  return {
    access: name,
    c: median(times.c),
    inThread: median(times.inThread),
    forwarded: median(times.forwarded),
    inThreadRatio: median(ratios.inThread),
    forwardedRatio: median(ratios.forwarded),
  };
}

function table(figures: readonly Figures[]): string {
  const row = (cells: readonly string[]) =>
    [cells[0]!.padEnd(12), ...cells.slice(1).map((cell) => cell.padStart(12))].join("");
  const lines = figures.map((f) =>
    row([
      f.access,
      `${f.c.toFixed(0)} ns`,
      `${f.inThread.toFixed(0)} ns`,
      `${f.inThreadRatio.toFixed(2)} x C`,
      `${f.forwarded.toFixed(0)} ns`,
      `${f.forwardedRatio.toFixed(2)} x C`,
    ]),
  );
  const head = row(["access", "C loop", "in Worker", "", "forwarded", ""]);
  const targets = row([
    "target",
    "",
    "",
    `${TARGETS.inThread} x C`,
    "",
    `${TARGETS.forwarded} x C`,
  ]);
  return [head, ...lines, targets].join("\n");
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      json: { type: "boolean", default: false },
      rounds: { type: "string", default: "40" },
      exits: { type: "string", default: "2000" },
      cpu: { type: "string", default: "0" },
    },
  });
  if (skipWithoutKvm !== false) {
    process.stderr.write(`skipped: ${skipWithoutKvm}\n`);
    return;
  }
  const mask = new BigUint64Array([1n << BigInt(values.cpu)]);
  // Threads and processes started from here on inherit it.
  check(nativeSyscalls().schedSetaffinity(0, mask), "sched_setaffinity");
  using c = new CLoop();
  const our = new OurLoop();
  const figures: Figures[] = [];
  for (const name of Object.keys(LOOPS) as LoopName[]) {
    figures.push(await measure(name, Number(values.rounds), Number(values.exits), c, our));
    if (process.stderr.isTTY) process.stderr.write(`${name}: measured\n`);
  }
  await our.end();
  if (values.json) process.stdout.write(`${JSON.stringify({ targets: TARGETS, figures })}\n`);
  else process.stdout.write(`${table(figures)}\n`);
}

await main();
