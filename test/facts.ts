/**
 * The facts of the specifications of PCI devices (F), their quirks (Q) and Intel graphics (I), and
 * the tests that show them: those with `spec F7` in their name.
 */

import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

export const root = resolve(import.meta.dirname, "../..");
/** Folders whose tests need nothing but this machine. */
const FOLDERS = ["src", "test/unit"];

/** Id -> a sentence. */
export const FACTS: ReadonlyMap<string, string> = new Map(
  readFileSync(join(root, "test/unit/fixtures/facts.txt"), "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line): [string, string] => {
      const space = line.indexOf(" ");
      return [line.slice(0, space), line.slice(space + 1)];
    }),
);

/** The facts in a test's name: `spec F1, spec F2: ...`. */
export function factsOf(name: string): string[] {
  const ids = [...name.matchAll(/\bspec ([A-Z]\d+)\b/g)].map(([, id]) => id!);
  return ids.filter((id) => FACTS.has(id));
}

export interface FactTest {
  /** From the repository's root. */
  readonly file: string;
  /** What the name of the test is, or how it begins when it is made of parts. */
  readonly name: RegExp;
  readonly facts: readonly string[];
}

/** The tests of facts, by the text of the sources. */
export function factTests(): FactTest[] {
  return FOLDERS.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".test.ts"))
      .flatMap((name) => testsIn(join(folder, name))),
  );
}

function testsIn(file: string): FactTest[] {
  const text = readFileSync(join(root, file), "utf8");
  return [...text.matchAll(/\btest\(\s*(["'`])((?:\\.|(?!\1).)*)\1/gs)].flatMap(([, , name]) => {
    const facts = factsOf(name!);
    return facts.length === 0 ? [] : [{ file, name: patternOf(name!), facts }];
  });
}

/** `${...}` of a template stands for anything. */
function patternOf(name: string): RegExp {
  const fixed = name
    .split(/\$\{[^}]*\}/)
    .map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`^${fixed.join(".*")}$`);
}
