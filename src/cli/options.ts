/**
 * Command-line options as QEMU's users type them: one dash or two, a value in the next argument or
 * after `=`, and `driver,key=value,...` lists. A verb declares its options as a table, from which
 * its --help is printed too.
 */

import type { DeviceOption } from "../machine/device-options.ts";
import { ViaductError } from "../sys/sys-error.ts";

export interface OptionSpec {
  /** Other spellings, without dashes. */
  readonly aliases?: readonly string[];
  /** What stands for the value in the help; absent: a switch. */
  readonly value?: string;
  /** The value may be left out (`--json`, `--json=FILE`). */
  readonly optionalValue?: boolean;
  readonly repeatable?: boolean;
  readonly help: string;
}

export type OptionTable = Readonly<Record<string, OptionSpec>>;

export interface ParsedOptions {
  /** Name -> values in order; a switch, or an absent optional value, is "". */
  readonly values: ReadonlyMap<string, readonly string[]>;
  readonly positional: readonly string[];
}

/** A mistake of the person at the keyboard; exit status 2. */
export function usageError(message: string, nextStep: string): ViaductError {
  return new ViaductError("USAGE", message, { nextStep });
}

/** @throws {ViaductError} USAGE: unknown option, missing value, given twice */
export function parseOptions(
  args: readonly string[],
  table: OptionTable,
  helpCommand: string,
): ParsedOptions {
  const values = new Map<string, string[]>();
  const positional: string[] = [];
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!;
    if (arg === "--") {
      positional.push(...args.slice(at + 1));
      break;
    }
    const match = /^--?([A-Za-z][\w-]*)(?:=(.*))?$/s.exec(arg);
    if (match === null) {
      positional.push(arg);
      continue;
    }
    const name = canonicalName(table, match[1]!);
    if (name === undefined) throw unknownOption(arg, match[1]!, table, helpCommand);
    const spec = table[name]!;
    let value = match[2];
    if (spec.value === undefined && value !== undefined) {
      throw usageError(`${arg}: this option takes no value`, `See ${helpCommand}.`);
    }
    if (spec.value !== undefined && value === undefined && spec.optionalValue !== true) {
      value = args[++at];
      if (value === undefined) {
        throw usageError(`${arg}: a value is missing (${spec.value})`, `See ${helpCommand}.`);
      }
    }
    const before = values.get(name);
    if (before !== undefined && spec.repeatable !== true) {
      throw usageError(`--${name}: given twice`, "Give it once.");
    }
    values.set(name, [...(before ?? []), value ?? ""]);
  }
  return { values, positional };
}

function canonicalName(table: OptionTable, typed: string): string | undefined {
  if (Object.hasOwn(table, typed)) return typed;
  return Object.keys(table).find((name) => table[name]!.aliases?.includes(typed));
}

function unknownOption(
  arg: string,
  typed: string,
  table: OptionTable,
  helpCommand: string,
): ViaductError {
  const close = closest(typed, Object.keys(table));
  const hint = close === undefined ? "" : `Did you mean --${close}? `;
  return usageError(`${arg}: unknown option`, `${hint}See ${helpCommand}.`);
}

/** The candidate that differs least from `typed`, when it differs little. */
export function closest(typed: string, candidates: readonly string[]): string | undefined {
  const ranked = candidates
    .map((candidate) => ({ candidate, distance: editDistance(typed, candidate) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  const limit = Math.max(1, Math.floor(typed.length / 3));
  return best !== undefined && best.distance <= limit ? best.candidate : undefined;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substituted, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/**
 * `driver,key=value,flag`; a comma inside a value is written twice.
 * @throws {ViaductError} USAGE: no driver, a property without a name or given twice
 */
export function parseDeviceOption(text: string): DeviceOption {
  const parts = text
    .replaceAll(",,", "\0")
    .split(",")
    .map((part) => part.replaceAll("\0", ","));
  const [driver = "", ...rest] = parts;
  if (driver === "" || driver.includes("=")) {
    throw usageError(
      `--device ${text}: the driver comes first`,
      "For example: --device vfio-pci,host=0000:01:00.0",
    );
  }
  const properties = new Map<string, string>();
  for (const part of rest) {
    const [, key, value] = /^([^=]*)(?:=(.*))?$/s.exec(part)!;
    if (key === undefined || key === "") {
      throw usageError(`--device ${text}: a property has no name`, "Write name=value.");
    }
    if (properties.has(key)) {
      throw usageError(`--device ${text}: property ${key} is given twice`, "Give it once.");
    }
    properties.set(key, value ?? "on");
  }
  return { driver, properties };
}

/**
 * Bytes from `512M`, `6G`, `1.5G`; a plain number counts `unit`s.
 * @throws {ViaductError} USAGE
 */
export function parseSize(option: string, text: string, unit: "M" | "B" = "M"): number {
  const match = /^(\d+(?:\.\d+)?)([BKMGT]?)(?:i?B)?$/i.exec(text);
  const scale = { B: 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };
  const suffix = (match?.[2] || unit).toUpperCase() as keyof typeof scale;
  const bytes = match === null ? Number.NaN : Number(match[1]) * scale[suffix];
  if (Number.isSafeInteger(bytes)) return bytes;
  throw usageError(`${option} ${text}: not a size`, "Write, for example, 512M or 6G.");
}

/** @throws {ViaductError} USAGE when not a whole number in the range */
export function parseCount(option: string, text: string, min: number, max: number): number {
  const count = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (count >= min && count <= max) return count;
  throw usageError(`${option} ${text}: not a number from ${min} to ${max}`, "Correct it.");
}

/** The table as the options part of a --help text. */
export function describeOptions(table: OptionTable): string {
  const rows = Object.entries(table).map(([name, spec]) => {
    const value = spec.value ?? "";
    const suffix = spec.optionalValue ? `[=${value}]` : value && ` ${value}`;
    const short = (spec.aliases ?? []).map((alias) => `, -${alias}`).join("");
    return { left: `  --${name}${short}${suffix}`, help: spec.help };
  });
  const column = 34;
  return rows
    .map(({ left, help }) => {
      const lines = help.split("\n");
      const head =
        left.length < column - 1 ? left.padEnd(column) : `${left}\n${" ".repeat(column)}`;
      return head + lines.join(`\n${" ".repeat(column)}`);
    })
    .join("\n");
}
