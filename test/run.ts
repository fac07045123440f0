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
  readonly command: readonly string[];
}

/** Named one by one: given a folder called test, Node 20 runs every file in it. */
function testFiles(folder: string): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".test.js"))
    .sort()
    .map((name) => join(folder, name));
}

const nodeTest = (folders: readonly string[], ...options: string[]): string[] => [
  process.execPath,
  "--test",
  "--test-reporter=spec",
  ...options,
  ...folders.flatMap(testFiles),
];

const TIERS: readonly Tier[] = [
  {
    name: "lint",
    what: "format, lint and typed rules",
    command: ["npm", "run", "--silent", "lint"],
  },
  {
    name: "unit",
    what: "this machine alone",
    command: nodeTest(["dist/src", "dist/lab", "dist/test/unit"]),
  },
  {
    name: "golden",
    what: "the kernel's headers",
    command: nodeTest(["dist/test/golden"]),
  },
  {
    name: "lab",
    what: "real kernels under emulation",
    command: nodeTest(["dist/test/lab"], "--test-concurrency=1"),
  },
];

function main(names: readonly string[]): number {
  const unknown = names.find((name) => !TIERS.some((tier) => tier.name === name));
  if (unknown !== undefined) {
    process.stderr.write(
      `no tier "${unknown}"; there are ${TIERS.map((t) => t.name).join(", ")}\n`,
    );
    return 2;
  }
  for (const { name, what, command } of TIERS) {
    if (names.length > 0 && !names.includes(name)) continue;
    const started = Date.now();
    process.stdout.write(`\n== ${name}: ${what}\n`);
    const [program, ...args] = command;
    const { status } = spawnSync(program!, args, { cwd: root, stdio: "inherit" });
    const seconds = ((Date.now() - started) / 1000).toFixed(0);
    process.stdout.write(`== ${name}: ${status === 0 ? "passed" : "FAILED"} in ${seconds} s\n`);
    if (status !== 0) return status ?? 1;
  }
  return 0;
}

process.exitCode = main(process.argv.slice(2));
