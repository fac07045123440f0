/**
 * Text made from a verb's definition: `--help` for the terminal and a man page in roff.
 */

import type { CommandDefinition, OptionDefinition } from "./command.ts";
import { HELP_OPTION } from "./command.ts";

const COLUMN = 26;
const WIDTH = 90;

const EXIT_STATUS: ReadonlyArray<readonly [number, string]> = [
  [0, "done; no finding at the level asked for"],
  [1, "findings, or the host refused"],
  [2, "the command line was wrong"],
  [3, "not permitted: run it as root, or as a user that may"],
  [4, "no such device, group, code or file"],
  [5, "the host cannot do it: no IOMMU or no VFIO"],
];

/** `viaduct list [-s BDF] ... [BDF...]`. */
export function usageLine(definition: CommandDefinition): string {
  const options = definition.options.map(
    (option) =>
      `[${option.flags[0]}${valueText(option)}]${option.repeatable === true ? "..." : ""}`,
  );
  const operands = definition.operands.map((operand) => {
    const many = operand.repeatable === true ? `${operand.name}...` : operand.name;
    return operand.optional === true ? `[${many}]` : many;
  });
  return ["viaduct", definition.name, ...options, ...operands].join(" ");
}

/** The whole `--help` text of a verb. */
export function helpText(definition: CommandDefinition): string {
  const parts = [
    wrap(`usage: ${usageLine(definition)}`, 0, 7),
    "",
    ...definition.description.flatMap((paragraph) => [wrap(paragraph, 0, 0), ""]),
  ];
  if (definition.operands.length > 0) {
    parts.push("Arguments:");
    for (const operand of definition.operands) parts.push(row(operand.name, operand.about));
    parts.push("");
  }
  parts.push("Options:");
  for (const option of [...definition.options, HELP_OPTION]) {
    parts.push(row(spellings(option), option.about));
  }
  if (definition.aliases !== undefined && definition.aliases.length > 0) {
    parts.push("", `Other names: ${definition.aliases.join(", ")}`);
  }
  parts.push("", "Examples:");
  for (const example of definition.examples) {
    parts.push(`  # ${example.about}`, ...commandLines(example.line).map((line) => `  ${line}`));
  }
  for (const { title, lines } of definition.sections ?? []) {
    parts.push("", `${title}:`, ...lines.map((line) => `  ${line}`));
  }
  parts.push("", "Exit status:");
  for (const [status, about] of definition.exitStatus ?? EXIT_STATUS) {
    parts.push(`  ${status}  ${about}`);
  }
  return `${parts.join("\n")}\n`;
}

function spellings(option: OptionDefinition): string {
  return `${option.flags.join(", ")}${valueText(option)}`;
}

function valueText({ value, optionalValue }: OptionDefinition): string {
  if (value === undefined) return "";
  return optionalValue === true ? `[=${value}]` : ` ${value}`;
}

function row(left: string, about: string): string {
  const head = `  ${left}`;
  const text = wrap(about, COLUMN, COLUMN);
  if (head.length >= COLUMN - 1) return `${head}\n${text}`;
  return head + text.slice(head.length);
}

function wrap(text: string, first: number, rest: number): string {
  const lines: string[] = [];
  let line = " ".repeat(first);
  for (const word of text.split(/\s+/)) {
    const empty = line.trim() === "";
    if (!empty && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = " ".repeat(rest) + word;
    } else {
      line += empty ? word : ` ${word}`;
    }
  }
  return [...lines, line].join("\n");
}

/** A command as a shell takes it, on several lines when it is long. */
function commandLines(line: string): string[] {
  const lines: string[] = [];
  let rest = line;
  while (rest.length > WIDTH) {
    const at = rest.lastIndexOf(" --", WIDTH - 2);
    if (at <= 0) break;
    lines.push(`${lines.length > 0 ? "    " : ""}${rest.slice(0, at)} \\`);
    rest = rest.slice(at + 1);
  }
  return [...lines, `${lines.length > 0 ? "    " : ""}${rest}`];
}

/** The man page of a verb, section 1, in roff. */
export function manPage(definition: CommandDefinition): string {
  const title = `VIADUCT-${definition.name.toUpperCase()}`;
  const out = [
    `.TH "${title}" "1" "" "viaduct" "Viaduct manual"`,
    ".SH NAME",
    roff(`viaduct-${definition.name} - ${definition.summary}`),
    ".SH SYNOPSIS",
    roff(usageLine(definition)),
    ".SH DESCRIPTION",
    ...definition.description.flatMap((paragraph) => [".PP", roff(paragraph)]),
  ];
  const options = [
    ...definition.operands.map((operand) => [operand.name, operand.about] as const),
    ...[...definition.options, HELP_OPTION].map(
      (option) => [spellings(option), option.about] as const,
    ),
  ];
  out.push(".SH OPTIONS");
  for (const [left, about] of options) out.push(".TP", `.B ${roff(left)}`, roff(about));
  for (const { title, lines } of definition.sections ?? []) {
    out.push(`.SH ${roff(title.toUpperCase())}`, ".EX", ...lines.map(verbatim), ".EE");
  }
  out.push(".SH EXIT STATUS");
  for (const [status, about] of definition.exitStatus ?? EXIT_STATUS)
    out.push(".TP", `.B ${status}`, roff(about));
  out.push(".SH EXAMPLES");
  for (const example of definition.examples) {
    out.push(".PP", roff(example.about), ".PP", ".EX");
    out.push(...commandLines(example.line).map(verbatim), ".EE");
  }
  out.push(".SH SEE ALSO", ".BR viaduct (1)");
  return `${out.join("\n")}\n`;
}

/** The page that `man viaduct` shows: every verb, with where its own page is. */
export function overviewPage(
  verbs: ReadonlyArray<readonly [string, { readonly summary: string }]>,
): string {
  const out = [
    `.TH "VIADUCT" "1" "" "viaduct" "Viaduct manual"`,
    ".SH NAME",
    roff("viaduct - give a virtual machine direct access to a device, through VFIO"),
    ".SH SYNOPSIS",
    roff("viaduct VERB [OPTION...]"),
    ".SH VERBS",
  ];
  for (const [name, { summary }] of verbs) {
    out.push(".TP", `.BR viaduct\\-${name} (1)`, roff(summary));
  }
  out.push(".SH EXIT STATUS");
  for (const [status, about] of EXIT_STATUS) out.push(".TP", `.B ${status}`, roff(about));
  out.push(".SH ENVIRONMENT");
  for (const [name, about] of ENVIRONMENT) out.push(".TP", `.B ${roff(name)}`, roff(about));
  out.push(".SH FILES", ".TP", ".I /var/lib/viaduct/journal.ndjson");
  out.push(roff("what was changed on this host, for viaduct restore"));
  return `${out.join("\n")}\n`;
}

const ENVIRONMENT: ReadonlyArray<readonly [string, string]> = [
  ["NO_COLOR", "when set and not empty, output has no colour on a terminal either"],
  ["VIADUCT_JOURNAL", "another place for the journal of changes"],
];

function roff(text: string): string {
  return verbatim(text.replace(/\s+/g, " "));
}

function verbatim(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replace(/^([.'])/gm, "\\&$1");
}
