/**
 * A verb's definition: its options, operands and examples, written once. The command-line parser
 * (parse-command.ts), `--help` and the man page (help-text.ts) and shell completion are all made
 * from it. verbs.ts says what else a verb's module exports.
 */

/** What completion offers in this place. */
export type Offers =
  | "device"
  /** `vfio-pci,host=ADDRESS`. */
  | "device option"
  | "group"
  | "driver"
  | "code"
  | "file"
  | "verb"
  | readonly string[];

export interface OptionDefinition {
  /** Every spelling, with its dashes; the first is the name the verb asks by. */
  readonly flags: readonly string[];
  /** What stands for the value in the help; absent: a switch. */
  readonly value?: string;
  /** The value may be left out, and follows `=` when it is not (`--json`, `--json=FILE`). */
  readonly optionalValue?: boolean;
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

/** A part of the help of its own, with lines as they are. */
export interface Section {
  readonly title: string;
  readonly lines: readonly string[];
}

export interface CommandDefinition {
  readonly name: string;
  readonly aliases?: readonly string[];
  /**
   * `lspci` (default): short switches run together (`-nnk`). `qemu`: an option takes one dash or
   * two, whatever its length.
   */
  readonly spelling?: "lspci" | "qemu";
  /** One line without a full stop. */
  readonly summary: string;
  /** Paragraphs. */
  readonly description: readonly string[];
  readonly operands: readonly OperandDefinition[];
  readonly options: readonly OptionDefinition[];
  readonly examples: readonly Example[];
  readonly sections?: readonly Section[];
  /** Where they mean something else than with the other verbs. */
  readonly exitStatus?: ReadonlyArray<readonly [number, string]>;
}

export const JSON_OPTION: OptionDefinition = {
  flags: ["--json"],
  about: "print JSON instead of text",
};

export const HELP_OPTION: OptionDefinition = { flags: ["--help", "-h"], about: "print this text" };
