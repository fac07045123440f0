/**
 * `viaduct explain`: what an error message means, and what to do. Works offline and asks nothing of
 * the host.
 */

import { flat } from "../host/diagnose.ts";
import { type Explanation, explainLine } from "../host/explain.ts";
import { entryOf } from "../host/findings/catalogue.ts";
import type { CatalogueEntry } from "../host/findings/finding.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { type CommandDefinition, JSON_OPTION } from "./command.ts";
import { EXIT } from "./exit-status.ts";
import { print, printJson } from "./output.ts";
import type { ParsedCommand } from "./parse-command.ts";

export const command: CommandDefinition = {
  name: "explain",
  summary: "what an error message means, and what to do",
  description: [
    `Takes a code of the doctor's, or a line as it was printed by QEMU, libvirt, KubeVirt, DPDK or
    the kernel, with whatever stands before it. With "-" it reads lines from standard input.`,
  ],
  operands: [
    {
      name: "CODE|LINE|-",
      about: "a code (NO_RESET, 24), a pasted line in quotes, or - for standard input",
      repeatable: true,
      offers: "code",
    },
  ],
  options: [JSON_OPTION],
  examples: [
    { about: "a code", line: "viaduct explain GROUP_NOT_VIABLE" },
    {
      about: "a line from a log",
      line: 'viaduct explain "vfio 0000:01:00.0: group 14 is not viable"',
    },
    { about: "everything the kernel said", line: "dmesg | viaduct explain -" },
  ],
};

/** Lines longer than this are cut: no message is. */
const LINE_MAX = 4000;

export async function run(parsed: ParsedCommand): Promise<number> {
  const text = parsed.operands.join(" ");
  const entry = text === "-" ? undefined : entryOf(text.trim());
  if (entry !== undefined) {
    if (parsed.has("--json")) printJson({ entries: [entryJson(entry)] });
    else print(entryLines(entry).join("\n"));
    return EXIT.DONE;
  }
  const lines = text === "-" ? await readLines() : text.split(/\r?\n/);
  const explained = lines
    .map((line) => explainLine(line.slice(0, LINE_MAX)))
    .filter((one) => one.entries.length > 0);
  if (explained.length === 0) {
    throw new ViaductError("DEVICE_NOT_FOUND", "nothing is known of this text", {
      nextStep: "`viaduct doctor` looks at the host itself.",
    });
  }
  if (parsed.has("--json")) {
    printJson({
      explanations: explained.map((one) => ({
        text: one.core,
        errno: one.errno ?? null,
        question: one.question === undefined ? null : flat(one.question),
        entries: one.entries.map(entryJson),
      })),
    });
  } else {
    print(unique(explained).map(explanationText).join("\n\n"));
  }
  return EXIT.DONE;
}

async function readLines(): Promise<string[]> {
  let text = "";
  process.stdin.setEncoding("utf8");
  for await (const part of process.stdin) text += String(part);
  return text.split(/\r?\n/);
}

/** One of each meaning: a log says the same thing many times. */
function unique(explained: readonly Explanation[]): Explanation[] {
  const seen = new Map<string, Explanation>();
  for (const one of explained) {
    const key = one.entries.map((entry) => entry.code).join();
    if (!seen.has(key)) seen.set(key, one);
  }
  return [...seen.values()];
}

function explanationText({ core, entries, question }: Explanation): string {
  const lines = [`"${core}"`];
  if (question !== undefined) {
    lines.push(`can be ${entries.map((entry) => entry.code).join(" or ")}. ${flat(question)}`);
  }
  const told = question === undefined ? entries.slice(0, 1) : entries;
  for (const entry of told) lines.push("", ...entryLines(entry));
  const others = question === undefined ? entries.slice(1) : [];
  if (others.length > 0) lines.push("", `See also: ${others.map(({ code }) => code).join(", ")}`);
  return lines.join("\n");
}

function entryLines(entry: CatalogueEntry): string[] {
  return [
    `${entry.code} (${entry.severity}): ${entry.title}`,
    `  cause: ${flat(entry.cause)}`,
    ...entry.fix.map((step) => `  fix:   ${step}`),
    ...entry.undo.map((step) => `  undo:  ${step}`),
    `  see:   ${entry.source}`,
  ];
}

function entryJson(entry: CatalogueEntry) {
  const { number, code, severity, title, fix, undo, source } = entry;
  return { number, code, severity, title, cause: flat(entry.cause), fix, undo, source };
}
