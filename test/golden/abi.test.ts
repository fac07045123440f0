/**
 * Compares every struct, field, constant and ioctl number of `src/abi/` with what a C compiler
 * makes of the kernel's headers: those installed on this machine, which may be older than ours, and
 * those the lab provides, of which nothing may be missing.
 */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { ask, headersVersion, type Toolchain } from "./c-compiler.ts";
import { type Check, checksOf, MODULES } from "./checks.ts";
import { installedToolchain, labToolchain } from "./toolchains.ts";

/** Constants whose value a later header changed; an older header may differ from ours. */
const CHANGED = new Set([
  "PCI_CAP_EXP_ENDPOINT_SIZEOF_V2", // was 0x32, without the padding behind link status 2
  "PCI_EXT_CAP_ID_MAX", // grows with the list
  "PCI_REBAR_CAP_SIZES", // sizes up to 128 TB took the upper bits
]);

interface Comparison {
  readonly compared: number;
  readonly different: readonly string[];
  readonly unknown: readonly string[];
}

async function compare(toolchain: Toolchain, changed: Set<string>): Promise<Comparison> {
  const checks: Check[] = [];
  for (const [module] of MODULES) checks.push(...(await checksOf(module)));
  const headers = [...new Set(MODULES.flatMap(([, ...names]) => names))];
  const { values, unknown } = await ask(toolchain, headers, checks);
  // A struct that has grown since: its size is that of another version.
  const grown = new Set(
    unknown.flatMap(({ expression }) => /struct (\w+)/.exec(expression)?.[1] ?? []),
  );
  const known = checks.filter(({ expression }) => {
    const tag = /^sizeof\(struct (\w+)\)$/.exec(expression)?.[1];
    const isOther = changed.has(expression) || (tag !== undefined && grown.has(tag));
    return values.has(expression) && !isOther;
  });
  const different = known
    .filter(({ expression, expected }) => !same(values.get(expression)!, expected))
    .map(({ module, expression, expected }) => {
      return `${module}: ${expression} is ${values.get(expression)}, we say ${expected}`;
    });
  return { compared: known.length, different, unknown: unknown.map((c) => c.expression) };
}

/** C gives 64 bits, sign-extended; a 32-bit mask such as ~0xf is unsigned here. */
function same(actual: bigint | string, expected: bigint | string): boolean {
  if (typeof actual === "string" || typeof expected === "string") return actual === expected;
  if (BigInt.asUintN(64, expected) === actual) return true;
  const signed = BigInt.asIntN(64, actual);
  return signed < 0n && signed >= -(2n ** 31n) && BigInt.asUintN(32, signed) === expected;
}

test("abi agrees with the headers installed on this machine", async (t) => {
  const toolchain = installedToolchain();
  if (!toolchain) return t.skip("no C compiler, or no kernel headers in /usr/include");
  const { compared, different, unknown } = await compare(toolchain, CHANGED);
  t.diagnostic(
    `Linux ${headersVersion(toolchain.headers)}: ${compared} compared, ${unknown.length} newer`,
  );
  assert.deepEqual(different, []);
  assert(compared > 1000, `only ${compared} compared`);
});

test("abi agrees with the lab's headers, and all of it is there", async (t) => {
  const toolchain = await labToolchain();
  const { compared, different, unknown } = await compare(toolchain, new Set());
  t.diagnostic(`Linux ${headersVersion(toolchain.headers)}: ${compared} compared`);
  assert.deepEqual(different, []);
  assert.deepEqual(unknown, []);
});

test("every module of src/abi whose first comment names a kernel header is compared", () => {
  const folder = resolve(import.meta.dirname, "../../../src/abi");
  const declaring = readdirSync(folder)
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"))
    .filter((name) => {
      const text = readFileSync(join(folder, name), "utf8");
      return /(?<!-)\b(?:linux|asm)\/[\w-]+\.h/.test(text.slice(0, text.indexOf("*/")));
    })
    .map((name) => name.replace(/\.ts$/, ""));
  assert.deepEqual(declaring.sort(), MODULES.map(([module]) => module).sort());
});
