/**
 * Asks a C compiler for the values of expressions, against one set of kernel headers. Expressions
 * that the headers do not know are found by compiling, and reported apart: a definition may be
 * newer than the headers.
 */

import assert from "node:assert/strict";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Check } from "./checks.ts";

/** A C compiler called `gcc`, with the folder of kernel headers to use it with. */
export interface Toolchain {
  /** The folder that has `linux/` and, beside or below it, `asm/`. */
  readonly headers: string;
  /** Runs a shell command in `folder`; the headers are its folder `include`. */
  run(folder: string, command: string): Promise<string>;
}

export interface Answers {
  /** By expression: the value, or the text of a string constant. */
  readonly values: ReadonlyMap<string, bigint | string>;
  /** What these headers do not define. */
  readonly unknown: readonly Check[];
}

/** Debian keeps `asm/` per architecture. */
const ASM_FOLDERS = ["x86_64-linux-gnu", "aarch64-linux-gnu", "s390x-linux-gnu"];

/** Evaluates `checks` in one program, without the headers of any C library. */
export async function ask(
  toolchain: Toolchain,
  headers: readonly string[],
  checks: Check[],
): Promise<Answers> {
  const folder = mkdtempSync(join(tmpdir(), "viaduct-abi-"));
  try {
    const asm = ASM_FOLDERS.map((name) => `${name}/asm`);
    for (const name of ["linux", "asm", "asm-generic", ...asm]) {
      const from = join(toolchain.headers, name);
      const to = join(folder, "include", name);
      if (existsSync(from)) cpSync(from, to, { recursive: true, dereference: true });
    }
    let known = checks;
    // The compiler stops at some errors before it sees others, so this takes a few rounds.
    for (let round = 0; round < 8; round++) {
      const wrong = await compile(toolchain, folder, program(headers, known));
      if (wrong.size === 0) {
        const unknown = checks.filter((check) => !known.includes(check));
        return { values: await run(toolchain, folder, known), unknown };
      }
      known = known.filter((_, index) => !wrong.has(index));
    }
    throw new Error(`${headers.join(", ")}: the compiler found errors in every round`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const MARK = "check:";

function program(headers: readonly string[], checks: readonly Check[]): string {
  const rows = checks.map(({ expression, expected }, index) =>
    typeof expected === "string"
      ? `#line ${index + 1} "${MARK}"\n{ 0, ${expression} },`
      : `#line ${index + 1} "${MARK}"\n{ (unsigned long long)(${expression}), 0 },`,
  );
  return [
    ...headers.map((name) => `#if __has_include(<${name}>)\n#include <${name}>\n#endif`),
    "#define IS_SIGNED(x) _Generic((x), signed char: 1, short: 1, int: 1, long: 1, \\",
    "  long long: 1, default: 0)",
    "int printf(const char *, ...);",
    "static const struct { unsigned long long value; const char *text; } rows[] = {",
    ...rows,
    "{ 0, 0 } };",
    `int main(void) { for (unsigned i = 0; i < ${checks.length}; i++)`,
    '  if (rows[i].text) printf("%s\\n", rows[i].text); else printf("%llu\\n", rows[i].value);',
    "  return 0; }",
    "",
  ].join("\n");
}

/** @returns the checks in error; none when the program is there */
async function compile(toolchain: Toolchain, folder: string, text: string): Promise<Set<number>> {
  writeFileSync(join(folder, "abi.c"), text);
  const asm = ASM_FOLDERS.filter((name) => existsSync(join(toolchain.headers, name)));
  const include = [...asm.slice(0, 1).map((name) => `include/${name}`), "include"];
  const flags = ["-std=gnu11 -w -nostdinc -fmax-errors=0", ...include.map((p) => `-isystem ${p}`)];
  const command = `rm -f abi; LC_ALL=C gcc ${flags.join(" ")} abi.c -o abi 2>abi.err; true`;
  await toolchain.run(folder, command);
  const errors = readFileSync(join(folder, "abi.err"), "utf8");
  const pattern = new RegExp(`^${MARK}:(\\d+):\\d+: error:`, "gm");
  const wrong = new Set([...errors.matchAll(pattern)].map(([, line]) => Number(line) - 1));
  assert(wrong.size > 0 || existsSync(join(folder, "abi")), `the compiler failed:\n${errors}`);
  return wrong;
}

async function run(
  toolchain: Toolchain,
  folder: string,
  checks: readonly Check[],
): Promise<Map<string, bigint | string>> {
  const lines = (await toolchain.run(folder, "./abi")).trimEnd().split("\n");
  return new Map(
    checks.map(({ expression, expected }, index) => {
      const line = lines[index] ?? "";
      return [expression, typeof expected === "string" ? line : BigInt(line)];
    }),
  );
}

/** The version of a set of headers, `"6.1"`, by its linux/version.h. */
export function headersVersion(headers: string): string {
  const text = readFileSync(join(headers, "linux/version.h"), "utf8");
  const code = Number(/LINUX_VERSION_CODE (\d+)/.exec(text)?.[1]);
  return `${code >> 16}.${(code >> 8) & 0xff}`;
}
