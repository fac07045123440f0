/**
 * A verb's definition: its options, operands and examples, written once. The command-line parser,
 * `--help` (help-text.ts), the man page and shell completion are all made from it. A verb's module
 * exports `command: CommandDefinition` and `run(args): Promise<number>`.
 */

import { ViaductError } from "../sys/sys-error.ts";

/** What completion offers in this place. */
export type Offers = "device" | "group" | "driver" | "code" | "file" | "verb" | readonly string[];

export interface OptionDefinition {
  /** Every spelling, with its dashes; the first is the name the verb asks by. */
  readonly flags: readonly string[];
  /** What stands for the value in the help; absent: a switch. */
  readonly value?: string;
  readonly about: string;
  /** May be given again: switches are counted (`-vv`), values are collected. */
  readonly repeatable?: boolean;
  readonly offers?: Offers;
}

export interface OperandDefinition {
  readonly name: string;
  readonly about: string;
  readonly optional?: boolean;
  readonly repeatable?: boolean;
  readonly offers?: Offers;
}

export interface Example {
  readonly about: string;
  /** The line to type, without a prompt. */
  readonly line: string;
}

export interface CommandDefinition {
  readonly name: string;
  readonly aliases?: readonly string[];
  /** One line without a full stop. */
  readonly summary: string;
  /** Paragraphs. */
  readonly description: readonly string[];
  readonly operands: readonly OperandDefinition[];
  readonly options: readonly OptionDefinition[];
  readonly examples: readonly Example[];
}

export const JSON_OPTION: OptionDefinition = {
  flags: ["--json"],
  about: "print JSON instead of text",
};

export const HELP_OPTION: OptionDefinition = { flags: ["--help", "-h"], about: "print this text" };

/** What was typed, by the first spelling of each option. */
export class ParsedCommand {
  readonly operands: readonly string[];
  private readonly given: ReadonlyMap<string, readonly string[]>;

  constructor(given: ReadonlyMap<string, readonly string[]>, operands: readonly string[]) {
    this.given = given;
    this.operands = operands;
  }

  has(flag: string): boolean {
    return this.given.has(flag);
  }

  count(flag: string): number {
    return this.given.get(flag)?.length ?? 0;
  }

  value(flag: string): string | undefined {
    return this.given.get(flag)?.at(-1);
  }

  values(flag: string): readonly string[] {
    return this.given.get(flag) ?? [];
  }
}

/**
 * Reads a verb's arguments. Short switches run together as lspci's do (`-nnk`), a short option's
 * value may follow at once (`-s01:00.0`), a long one's after `=`.
 * @throws {ViaductError} USAGE: unknown option, missing value, given twice, too many operands
 */
export function parseCommand(
  definition: CommandDefinition,
  args: readonly string[],
): ParsedCommand {
  const given = new Map<string, string[]>();
  const operands: string[] = [];
  let at = 0;
  const take = (option: OptionDefinition, flag: string, attached: string | undefined) => {
    let value = attached;
    if (option.value !== undefined && value === undefined) value = args[++at];
    if (option.value !== undefined && value === undefined) {
      throw usage(definition, `${flag}: a value is missing (${option.value})`);
    }
    const name = option.flags[0]!;
    const before = given.get(name) ?? [];
    if (before.length > 0 && option.repeatable !== true && option.value !== undefined) {
      throw usage(definition, `${flag}: given twice`);
    }
    given.set(name, [...before, value ?? ""]);
  };
  for (; at < args.length; at++) {
    const arg = args[at]!;
    if (arg === "--") {
      operands.push(...args.slice(at + 1));
      break;
    }
    if (arg.startsWith("--")) takeLong(definition, arg, take);
    else if (arg.startsWith("-") && arg !== "-") takeShort(definition, arg, take);
    else operands.push(arg);
  }
  checkOperands(definition, given, operands);
  return new ParsedCommand(given, operands);
}

type Take = (option: OptionDefinition, flag: string, attached: string | undefined) => void;

function takeLong(definition: CommandDefinition, arg: string, take: Take): void {
  const equals = arg.indexOf("=");
  const flag = equals < 0 ? arg : arg.slice(0, equals);
  const option = optionOf(definition, flag);
  const attached = equals < 0 ? undefined : arg.slice(equals + 1);
  if (option.value === undefined && attached !== undefined) {
    throw usage(definition, `${flag}: this option takes no value`);
  }
  take(option, flag, attached);
}

function takeShort(definition: CommandDefinition, arg: string, take: Take): void {
  for (let i = 1; i < arg.length; i++) {
    const flag = `-${arg[i]}`;
    const option = optionOf(definition, flag);
    if (option.value === undefined) {
      take(option, flag, undefined);
      continue;
    }
    take(option, flag, i + 1 < arg.length ? arg.slice(i + 1) : undefined);
    return;
  }
}

function optionOf(definition: CommandDefinition, flag: string): OptionDefinition {
  const found = [...definition.options, HELP_OPTION].find((option) => option.flags.includes(flag));
  if (found !== undefined) return found;
  const all = definition.options.flatMap((option) => option.flags);
  const near = all.find((name) => name.startsWith("--") && name.startsWith(flag));
  throw usage(
    definition,
    `${flag}: unknown option${near === undefined ? "" : `; did you mean ${near}?`}`,
  );
}

function checkOperands(
  definition: CommandDefinition,
  given: ReadonlyMap<string, unknown>,
  operands: readonly string[],
): void {
  if (given.has("--help")) return;
  const needed = definition.operands.filter((operand) => operand.optional !== true);
  if (operands.length < needed.length) {
    throw usage(definition, `${needed[operands.length]!.name}: missing`);
  }
  const unbounded = definition.operands.some((operand) => operand.repeatable === true);
  if (!unbounded && operands.length > definition.operands.length) {
    throw usage(definition, `${operands[definition.operands.length]}: one argument too many`);
  }
}

/** A mistake of the person at the keyboard. */
export function usage(definition: CommandDefinition, message: string): ViaductError {
  return new ViaductError("USAGE", `viaduct ${definition.name}: ${message}`, {
    nextStep: `See viaduct ${definition.name} --help.`,
  });
}
