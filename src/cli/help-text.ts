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
  const options = definition.options.map((option) => {
    const value = option.value === undefined ? "" : ` ${option.value}`;
    return `[${option.flags[0]}${value}]${option.repeatable === true ? "..." : ""}`;
  });
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
    parts.push(`  # ${example.about}`, `  ${example.line}`);
  }
  parts.push("", "Exit status:");
  for (const [status, about] of EXIT_STATUS) parts.push(`  ${status}  ${about}`);
  return `${parts.join("\n")}\n`;
}

function spellings(option: OptionDefinition): string {
  const value = option.value === undefined ? "" : ` ${option.value}`;
  return `${option.flags.join(", ")}${value}`;
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
  out.push(".SH EXIT STATUS");
  for (const [status, about] of EXIT_STATUS) out.push(".TP", `.B ${status}`, roff(about));
  out.push(".SH EXAMPLES");
  for (const example of definition.examples) {
    out.push(".PP", roff(example.about), ".PP", ".EX", roff(example.line), ".EE");
  }
  return `${out.join("\n")}\n`;
}

function roff(text: string): string {
  return text
    .replace(/\s+/g, " ")
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replace(/^([.'])/gm, "\\&$1");
}
