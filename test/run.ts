/**
 * `npm test`: the tiers in order, cheapest first; a tier that fails ends the run with its status.
 * docs/testing.md says what each tier needs and how to run one alone:
 * `npm test -- unit`, `npm test -- golden lab`.
 */

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../..");

interface Tier {
  readonly name: string;
  readonly what: string;
  /** Run one after the other, each to its end. */
  readonly commands: ReadonlyArray<readonly string[]>;
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
    commands: testFiles("dist/test/lab").map((file) => nodeTest(file)),
    // Nested emulation loses a timer now and then, and with it a whole L1 or a guest.
    attempts: 2,
  },
];

function runTier({ commands, attempts = 1 }: Tier): number {
  for (const [program, ...args] of commands) {
    for (let attempt = 1; ; attempt++) {
      const { status } = spawnSync(program!, args, { cwd: root, stdio: "inherit" });
      if (status === 0) break;
      if (attempt === attempts) return status ?? 1;
      process.stdout.write(`== failed, and run once more: ${args.at(-1)}\n`);
    }
  }
  return 0;
}

function main(names: readonly string[]): number {
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
    const status = runTier(tier);
    const seconds = ((Date.now() - started) / 1000).toFixed(0);
    process.stdout.write(
      `== ${tier.name}: ${status === 0 ? "passed" : "FAILED"} in ${seconds} s\n`,
    );
    if (status !== 0) return status;
  }
  return 0;
}

process.exitCode = main(process.argv.slice(2));
