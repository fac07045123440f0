/**
 * What a trapped access costs: answered in the vCPU's Worker and forwarded to the main thread,
 * against the same guest loop with its exits answered by C (`exits-loop.c`). All threads run on one
 * CPU, and batches of the three are interleaved, because the machine's speed drifts more than the
 * difference is. Runs on this machine's KVM; with `--lab`, or where there is none, on that of L1,
 * where this program runs a second time.
 *
 *     npm run bench -- exits [--json] [--rounds=40] [--exits=2000] [--cpu=0]
 *                              [--lab (then 8 rounds of 1000)] [--kernel=lab|debian]
 */

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { L1 } from "../lab/l1.ts";
import { progress } from "../lab/progress.ts";
import type { ExitHandler } from "../src/kvm/exit-handler.ts";
import { asm, skipWithoutKvm, TinyMachine } from "../src/kvm/tiny-machine.ts";
import { ConfigSpace } from "../src/pci/config-space.ts";
import { SharedConfig } from "../src/pci/shared-config.ts";
import { nativeSyscalls } from "../src/sys/native.ts";
import { check } from "../src/sys/sys-error.ts";
import { compiled } from "./compiled.ts";
import {
  CONFIG_PAGE,
  DEVICE_PAGE,
  DEVICE_PORT,
  type ExitsBatch,
  now,
  TO_READ,
  WORD,
} from "./exits-batch.ts";
import { kernelToMeasure } from "./lab-kernel.ts";
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
const LAB_LIMIT_MS = 600_000;

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
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  /** @param program `exits-loop.c`, built */
  constructor(program: string) {
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

interface Options {
  readonly json: boolean;
  readonly rounds: number;
  readonly exits: number;
  readonly cpu: number;
}

async function measureHere(program: string, options: Options): Promise<void> {
  const { rounds, exits, cpu, json } = options;
  // Threads and processes started from here on inherit it.
  const mask = new BigUint64Array([1n << BigInt(cpu)]);
  check(nativeSyscalls().schedSetaffinity(0, mask), "sched_setaffinity");
  using c = new CLoop(program);
  const our = new OurLoop();
  const figures: Figures[] = [];
  for (const name of Object.keys(LOOPS) as LoopName[]) {
    figures.push(await measure(name, rounds, exits, c, our));
    if (process.stderr.isTTY) process.stderr.write(`${name}: measured\n`);
  }
  await our.end();
  if (json) process.stdout.write(`${JSON.stringify({ targets: TARGETS, figures })}\n`);
  else process.stdout.write(`${table(figures)}\n`);
  const missed = figures.some(
    ({ inThreadRatio, forwardedRatio }) =>
      inThreadRatio > TARGETS.inThread || forwardedRatio > TARGETS.forwarded,
  );
  process.exitCode = missed ? 1 : 0;
}

/** This program inside L1, with the same options. */
async function measureInLab(program: string, name: string | undefined, options: Options) {
  const kernel = await kernelToMeasure(name);
  progress(`exits: on the KVM of L1, Linux "${kernel}" of the lab`);
  await using l1 = await L1.start({ kernel });
  const { json, ...numbers } = options;
  const result = await l1.run(
    [
      ...["node", fileURLToPath(import.meta.url), `--program=${program}`],
      ...Object.entries(numbers).map(([key, value]) => `--${key}=${value}`),
      ...(json ? ["--json"] : []),
    ],
    { timeoutMs: LAB_LIMIT_MS },
  );
  process.stdout.write(result.stdout);
  process.stderr.write(result.stderr);
  process.exitCode = result.status;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      json: { type: "boolean", default: false },
      rounds: { type: "string" },
      exits: { type: "string" },
      cpu: { type: "string", default: "0" },
      lab: { type: "boolean", default: false },
      kernel: { type: "string" },
      // The C loop, built: given by the outer run.
      program: { type: "string" },
    },
  });
  const inLab = values.lab || skipWithoutKvm !== false;
  // An exit takes ten times as long under emulation.
  const { json, cpu, rounds = inLab ? "8" : "40", exits = inLab ? "1000" : "2000" } = values;
  const options = { json, rounds: Number(rounds), exits: Number(exits), cpu: Number(cpu) };
  const program = values.program ?? (await compiled("exits-loop"));
  if (!inLab) return measureHere(program, options);
  if (values.program !== undefined) throw new Error(`L1 has ${skipWithoutKvm}`);
  if (!values.lab) {
    process.stderr.write(
      `exits: needs a /dev/kvm that may be opened, and this machine has ${skipWithoutKvm}\n` +
        "exits: measuring in the lab instead, as --lab does\n",
    );
  }
  return measureInLab(program, values.kernel, options);
}

await main();
