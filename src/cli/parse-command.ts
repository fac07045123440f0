/**
 * Reads a verb's arguments by its definition.
 */

import { ViaductError } from "../sys/sys-error.ts";
import { type CommandDefinition, HELP_OPTION, type OptionDefinition } from "./command.ts";
import { closest } from "./options.ts";

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

  /** The value given; "" for an optional one that was left out. */
  value(flag: string): string | undefined {
    return this.given.get(flag)?.at(-1);
  }

  values(flag: string): readonly string[] {
    return this.given.get(flag) ?? [];
  }
}

/** One walk over the arguments. */
class Parser {
  readonly given = new Map<string, string[]>();
  readonly operands: string[] = [];
  private readonly definition: CommandDefinition;
  private readonly args: readonly string[];
  private at = 0;

  constructor(definition: CommandDefinition, args: readonly string[]) {
    this.definition = definition;
    this.args = args;
  }

  parse(): void {
    const isQemu = this.definition.spelling === "qemu";
    for (; this.at < this.args.length; this.at++) {
      const arg = this.args[this.at]!;
      if (arg === "--") {
        this.operands.push(...this.args.slice(this.at + 1));
        break;
      }
      if (!arg.startsWith("-") || arg === "-") this.operands.push(arg);
      else if (isQemu || arg.startsWith("--")) this.takeWord(arg);
      else this.takeLetters(arg);
    }
  }

  private takeWord(arg: string): void {
    const equals = arg.indexOf("=");
    const flag = equals < 0 ? arg : arg.slice(0, equals);
    const option = this.option(flag);
    const attached = equals < 0 ? undefined : arg.slice(equals + 1);
    if (option.value === undefined && attached !== undefined) {
      throw usage(this.definition, `${flag}: this option takes no value`);
    }
    this.take(option, flag, attached);
  }

  private takeLetters(arg: string): void {
    for (let i = 1; i < arg.length; i++) {
      const flag = `-${arg[i]}`;
      const option = this.option(flag);
      if (option.value === undefined) {
        this.take(option, flag, undefined);
        continue;
      }
      this.take(option, flag, i + 1 < arg.length ? arg.slice(i + 1) : undefined);
      return;
    }
  }

  private take(option: OptionDefinition, flag: string, attached: string | undefined): void {
    let value = attached;
    if (option.value !== undefined && value === undefined && option.optionalValue !== true) {
      value = this.args[++this.at];
      if (value === undefined) {
        throw usage(this.definition, `${flag}: a value is missing (${option.value})`);
      }
    }
    const name = option.flags[0]!;
    const before = this.given.get(name) ?? [];
    if (before.length > 0 && option.repeatable !== true && option.value !== undefined) {
      throw usage(this.definition, `${flag}: given twice`);
    }
    this.given.set(name, [...before, value ?? ""]);
  }

  private option(flag: string): OptionDefinition {
    const { definition } = this;
    const isQemu = definition.spelling === "qemu";
    const plain = (spelling: string) => (isQemu ? spelling.replace(/^--?/, "") : spelling);
    const found = [...definition.options, HELP_OPTION].find((option) =>
      option.flags.some((spelling) => plain(spelling) === plain(flag)),
    );
    if (found !== undefined) return found;
    const words = definition.options.flatMap(({ flags }) => flags).filter(isWord);
    const near =
      words.find((word) => isWord(flag) && word.startsWith(flag)) ??
      closest(flag.replace(/^-?-?/, "--"), words);
    const hint = near === undefined ? "" : `; did you mean ${near}?`;
    throw usage(definition, `${flag}: unknown option${hint}`);
  }
}

function isWord(flag: string): boolean {
  return flag.startsWith("--");
}

/**
 * Reads a verb's arguments. Short switches run together as lspci's do (`-nnk`), a short option's
 * value may follow at once (`-s01:00.0`), a long one's after `=`; or all is spelled as QEMU's.
 * @throws {ViaductError} USAGE: unknown option, missing value, given twice, too many operands
 */
export function parseCommand(
  definition: CommandDefinition,
  args: readonly string[],
): ParsedCommand {
  const parser = new Parser(definition, args);
  parser.parse();
  const { given, operands } = parser;
  if (!given.has(HELP_OPTION.flags[0]!)) checkOperands(definition, operands);
  return new ParsedCommand(given, operands);
}

function checkOperands(definition: CommandDefinition, operands: readonly string[]): void {
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
