/**
 * `npm run facts`: runs the tests of the specifications' facts and writes docs/facts.md.
 * `npm run facts -- F7 Q12`: runs those of some facts and prints their rows.
 */

import { writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { run } from "node:test";
import { FACTS, factsOf, factTests, root } from "./facts.ts";

interface Result {
  readonly file: string;
  readonly name: string;
  readonly outcome: "passed" | "FAILED" | "skipped";
}

interface Finished {
  readonly name: string;
  readonly file?: string;
  readonly skip?: string | boolean;
}

/** Runs the tests that show any of `ids`, each once. */
async function runTests(ids: readonly string[]): Promise<Result[]> {
  const wanted = factTests().filter(({ facts }) => facts.some((id) => ids.includes(id)));
  const files = [...new Set(wanted.map(({ file }) => file))].sort();
  const results: Result[] = [];
  const note = ({ name, file, skip }: Finished, outcome: Result["outcome"]) => {
    if (!factsOf(name).some((id) => ids.includes(id))) return;
    const source = relative(join(root, "dist"), file ?? "").replace(/\.js$/, ".ts");
    results.push({ file: source, name, outcome: skip === undefined ? outcome : "skipped" });
  };
  const compiled = files.map((file) => join(root, "dist", file.replace(/\.ts$/, ".js")));
  const testNamePatterns = [`\\bspec (?:${ids.join("|")})\\b`];
  const stream = run({ files: compiled, testNamePatterns: testNamePatterns.map((p) => RegExp(p)) });
  stream.on("test:pass", (data) => note(data, "passed"));
  stream.on("test:fail", (data) => note(data, "FAILED"));
  for await (const _event of stream);
  const order = (a: Result, b: Result) => (a.file === b.file ? 0 : a.file < b.file ? -1 : 1);
  return results.sort(order);
}

function table(ids: readonly string[], results: readonly Result[]): string {
  const rows = ids.flatMap((id) => {
    const shown = results.filter(({ name }) => factsOf(name).includes(id));
    if (shown.length === 0) return [`| ${id} | ${FACTS.get(id)} | | | no test |`];
    return shown.map(({ file, name, outcome }, i) => {
      const fact = i === 0 ? `${id} | ${FACTS.get(id)}` : "|";
      return `| ${fact} | ${name.replaceAll("|", "\\|")} | ${file} | ${outcome} |`;
    });
  });
  return ["| fact | | test | file | result |", "|---|---|---|---|---|", ...rows, ""].join("\n");
}

const HEADER = `# Facts

The facts of the specifications of PCI devices (F), their quirks (Q) and Intel graphics (I), the
tests that show them, and what those said when \`npm run facts\` wrote this page. Each runs in
milliseconds, without privileges. One alone, and the same by Node's own runner:

    npm run facts -- F7
    node --test --test-name-pattern 'spec F7\\b' dist/src dist/test/unit

`;

async function main(given: readonly string[]): Promise<number> {
  const unknown = given.find((id) => !FACTS.has(id));
  if (unknown !== undefined) {
    process.stderr.write(`there is no fact ${unknown}; docs/facts.md lists them\n`);
    return 2;
  }
  const ids = given.length > 0 ? given : [...FACTS.keys()];
  const results = await runTests(ids);
  const text = table(ids, results);
  if (given.length > 0) process.stdout.write(text);
  else writeFileSync(join(root, "docs/facts.md"), HEADER + text);
  const failed = results.filter(({ outcome }) => outcome === "FAILED").length;
  process.stdout.write(`${ids.length} facts, ${results.length} tests, ${failed} failed\n`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
