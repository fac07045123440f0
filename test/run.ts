/**
 * `npm test`: the tiers in order, cheapest first; a tier that fails ends the run with its status.
 * docs/testing.md says what each tier needs and how to run one alone:
 * `npm test -- unit`, `npm test -- golden lab`.
 */

import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, join, resolve } from "node:path";
import { text } from "node:stream/consumers";

const root = resolve(import.meta.dirname, "../..");

interface Tier {
  readonly name: string;
  readonly what: string;
  /** Run before the others, one after the other, with the terminal to themselves. */
  readonly first?: ReadonlyArray<readonly string[]>;
  readonly commands: ReadonlyArray<readonly string[]>;
  /** How many commands run at once; what they print then comes as each ends. */
  readonly together?: number;
  /** Run after those, one after the other. */
  readonly alone?: ReadonlyArray<readonly string[]>;
  /** How often a command that failed is run in all. */
  readonly attempts?: number;
}

/** Named one by one: given a folder called test, Node 20 runs every file in it. */
function testFiles(folder: string): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".test.js"))
    .sort()
    .map((name) => join(folder, name));
}

const nodeTest = (...files: readonly string[]): string[] => [
  process.execPath,
  "--test",
  "--test-reporter=spec",
  ...files,
];

/** Downloads and builds, minutes of it where the cache is empty, and tells how far it is. */
const prepareLab = (kernel: string): string[] => [
  process.execPath,
  "dist/lab/cli.js",
  "prepare",
  "--kernel",
  kernel,
];

/** Begun first, so that none is left alone at the end. */
const LONG = ["parity", "host-verbs", "drivers", "assigned-device"];

/** On a busy machine its guest ends: docs/lab.md, "Emulated SVM". */
const ALONE = ["hot-plug"];

const isOneOf = (names: readonly string[]) => (file: string) =>
  names.includes(basename(file, ".test.js"));

function longestFirst(files: readonly string[]): string[] {
  const isLong = isOneOf(LONG);
  return [...files.filter(isLong), ...files.filter((file) => !isLong(file))];
}

const LAB_FILES = longestFirst(testFiles("dist/test/lab"));
const isAlone = isOneOf(ALONE);

const TIERS: readonly Tier[] = [
  {
    name: "lint",
    what: "format, lint and typed rules",
    commands: [["npm", "run", "--silent", "lint"]],
  },
  {
    name: "unit",
    what: "this machine alone",
    commands: [nodeTest(...["dist/src", "dist/lab", "dist/test/unit"].flatMap(testFiles))],
  },
  {
    name: "golden",
    what: "the kernel's headers",
    commands: [nodeTest(...testFiles("dist/test/golden"))],
  },
  {
    name: "lab",
    what: "real kernels under emulation",
    first: ["lab", "debian"].map((kernel) => prepareLab(kernel)),
    commands: LAB_FILES.filter((file) => !isAlone(file)).map((file) => nodeTest(file)),
    alone: LAB_FILES.filter(isAlone).map((file) => nodeTest(file)),
    // An L1 keeps about one processor busy.
    together: Math.min(availableParallelism(), 2),
    // Of some hundred starts under nested emulation one stands still for good.
    attempts: 3,
  },
];

interface Result {
  readonly status: number;
  /** Empty where the command had the terminal to itself. */
  readonly output: string;
}

async function runCommand(command: readonly string[], hasTerminal: boolean): Promise<Result> {
  const [program, ...args] = command;
  const out = hasTerminal ? "inherit" : "pipe";
  const child = spawn(program!, args, { cwd: root, stdio: ["ignore", out, out] });
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", reject).once("close", (code) => resolve(code ?? 1));
  });
  const pipes = [child.stdout, child.stderr].filter((pipe) => pipe !== null);
  const output = await Promise.all(pipes.map((pipe) => text(pipe)));
  return { status: await ended, output: output.join("") };
}

/** Runs one to its end, again where the tier allows it, and prints what it said. */
async function runToEnd(
  command: readonly string[],
  { attempts = 1, together = 1 }: Pick<Tier, "attempts" | "together">,
): Promise<number> {
  const name = basename(command.at(-1)!);
  for (let attempt = 1; ; attempt++) {
    const started = Date.now();
    const { status, output } = await runCommand(command, together === 1);
    const seconds = ((Date.now() - started) / 1000).toFixed(0);
    if (together > 1) process.stdout.write(`\n-- ${name}, ${seconds} s\n${output}`);
    if (status === 0 || attempt === attempts) return status;
    process.stdout.write(`== failed, and run again: ${name}\n`);
  }
}

/** @returns the status of the first command that failed; none is begun after it */
async function runTier(tier: Tier): Promise<number> {
  for (const command of tier.first ?? []) {
    const status = await runToEnd(command, {});
    if (status !== 0) return status;
  }
  const waiting = [...tier.commands];
  let failed = 0;
  const worker = async () => {
    for (let next = waiting.shift(); next && failed === 0; next = waiting.shift()) {
      const status = await runToEnd(next, tier);
      failed ||= status;
    }
  };
  await Promise.all(Array.from({ length: tier.together ?? 1 }, worker));
  for (const command of tier.alone ?? []) {
    if (failed === 0) failed = await runToEnd(command, { attempts: tier.attempts ?? 1 });
  }
  return failed;
}

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.find((name) => !TIERS.some((tier) => tier.name === name));
  if (unknown !== undefined) {
    process.stderr.write(
      `no tier "${unknown}"; there are ${TIERS.map((t) => t.name).join(", ")}\n`,
    );
    return 2;
  }
  for (const tier of TIERS.filter(({ name }) => names.length === 0 || names.includes(name))) {
    const started = Date.now();
    process.stdout.write(`\n== ${tier.name}: ${tier.what}\n`);
    const status = await runTier(tier);
    const seconds = ((Date.now() - started) / 1000).toFixed(0);
    process.stdout.write(
      `== ${tier.name}: ${status === 0 ? "passed" : "FAILED"} in ${seconds} s\n`,
    );
    if (status !== 0) return status;
  }
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
