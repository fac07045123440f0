/**
 * Asks a C compiler for the values of expressions, against one set of kernel headers. Expressions
 * that the headers do not know are found by compiling, and reported apart: a definition may be
 * newer than the headers.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Check } from "./checks.ts";

/** A compiler with the folder of kernel headers to use it with. */
export interface Toolchain {
  readonly compiler: string;
  /** The folder that has `linux/` and, beside or below it, `asm/`. */
  readonly headers: string;
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
export function ask(toolchain: Toolchain, headers: readonly string[], checks: Check[]): Answers {
  const folder = mkdtempSync(join(tmpdir(), "viaduct-abi-"));
  try {
    let known = checks;
    // The compiler stops at some errors before it sees others, so this takes a few rounds.
    for (let round = 0; round < 8; round++) {
      const wrong = compile(toolchain, folder, program(headers, known));
      if (wrong.size === 0) {
        const unknown = checks.filter((check) => !known.includes(check));
        return { values: run(folder, known), unknown };
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
function compile({ compiler, headers }: Toolchain, folder: string, text: string): Set<number> {
  const source = join(folder, "abi.c");
  writeFileSync(source, text);
  const asm = ASM_FOLDERS.map((name) => join(headers, name)).filter((path) => existsSync(path));
  const include = [...asm.slice(0, 1), headers].flatMap((path) => ["-isystem", path]);
  const { stderr, status, error } = spawnSync(
    compiler,
    ["-std=gnu11", "-w", "-nostdinc", "-fmax-errors=0", ...include, source, "-o", `${source}.out`],
    { encoding: "utf8", env: { ...process.env, LC_ALL: "C" }, timeout: 120_000 },
  );
  if (error) throw error;
  const pattern = new RegExp(`^${MARK}:(\\d+):\\d+: error:`, "gm");
  const wrong = new Set([...stderr.matchAll(pattern)].map(([, line]) => Number(line) - 1));
  assert(status === 0 || wrong.size > 0, `${compiler} failed:\n${stderr}`);
  return wrong;
}

function run(folder: string, checks: readonly Check[]): Map<string, bigint | string> {
  const { stdout, status } = spawnSync(join(folder, "abi.c.out"), { encoding: "utf8" });
  assert.equal(status, 0);
  const lines = stdout.trimEnd().split("\n");
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
