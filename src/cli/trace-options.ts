/** `--trace` and `--trace-json`: which events, and where to, in QEMU's spelling of `-trace`. */

import { readFileSync } from "node:fs";
import { ViaductError } from "../sys/sys-error.ts";
import { usageError } from "./options.ts";

export interface TraceOptions {
  /** In their order; one with a dash in front takes events away again. */
  readonly patterns: readonly string[];
  /** Where text goes: a file, "" for stderr; undefined: nowhere. */
  readonly text: string | undefined;
  /** Where NDJSON goes as well; undefined: nowhere. */
  readonly json: string | undefined;
}

const NEXT_STEP = "Write --trace [enable=]PATTERN[,events=FILE][,file=FILE]; --trace help lists.";

/**
 * @param given the values of `--trace`
 * @returns undefined when nothing is to be traced, "help" when the list is asked for
 * @throws {ViaductError} USAGE: an unknown key, a file that cannot be read
 */
export function parseTraceOptions(
  given: readonly string[],
  json: string | undefined,
): TraceOptions | "help" | undefined {
  if (given.length === 0 && json === undefined) return undefined;
  const patterns: string[] = [];
  let text = given.length > 0 ? "" : undefined;
  for (const part of given.flatMap((value) => value.split(","))) {
    const [, key = "enable", value = ""] = /^(?:(\w+)=)?(.*)$/s.exec(part)!;
    if (value === "") throw usageError(`--trace ${part}: a value is missing`, NEXT_STEP);
    if (key === "enable") patterns.push(value);
    else if (key === "events") patterns.push(...patternsOf(value));
    else if (key === "file") text = value;
    else throw usageError(`--trace ${part}: there is no ${key}`, NEXT_STEP);
  }
  if (patterns.includes("help") || patterns.includes("?")) return "help";
  // Who names no event wants all of them.
  return { patterns: patterns.length > 0 ? patterns : ["*"], text, json };
}

/** A pattern a line; empty lines and those that begin with # do not count. */
function patternsOf(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    const why = (cause as Error).message;
    throw new ViaductError("USAGE", `--trace events=${path}: Cannot read it: ${why}`, {
      cause,
      nextStep: "Name a file with one event or pattern a line.",
    });
  }
  const lines = text.split("\n").map((line) => line.trim());
  return lines.filter((line) => line !== "" && !line.startsWith("#"));
}
