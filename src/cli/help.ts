/**
 * `viaduct help VERB`: its help, or its man page.
 */

import { flat } from "../host/diagnose.ts";
import { type CommandDefinition, JSON_OPTION } from "./command.ts";
import { EXIT } from "./exit-status.ts";
import { helpText, manPage } from "./help-text.ts";
import { print, printJson } from "./output.ts";
import { type ParsedCommand, usage } from "./parse-command.ts";
import { verbNamed } from "./verbs.ts";

export const command: CommandDefinition = {
  name: "help",
  summary: "describe a verb, as text or as a man page",
  description: [`Prints what "viaduct VERB --help" prints, or with --man a page for man(1).`],
  operands: [{ name: "VERB", about: "one of viaduct's verbs", optional: true, offers: "verb" }],
  options: [{ flags: ["--man"], about: "as a man page in roff" }, JSON_OPTION],
  examples: [
    { about: "how to bind devices", line: "viaduct help bind" },
    { about: "read the man page", line: "viaduct help --man doctor | man -l -" },
  ],
};

export async function run(parsed: ParsedCommand): Promise<number> {
  const name = parsed.operands[0] ?? "help";
  const entry = verbNamed(name);
  if (entry === undefined) throw usage(command, `no verb "${name}"`);
  const verb = await entry.load();
  if (parsed.has("--json")) printJson({ commands: [commandJson(verb.command)] });
  else print(parsed.has("--man") ? manPage(verb.command) : helpText(verb.command));
  return EXIT.DONE;
}

function commandJson(command: CommandDefinition) {
  const { name, aliases = [], summary, description, operands, options, examples } = command;
  return {
    name,
    aliases,
    summary,
    description: description.map(flat),
    operands: operands.map((operand) => ({
      name: operand.name,
      about: flat(operand.about),
      isOptional: operand.optional ?? false,
      isRepeatable: operand.repeatable ?? false,
    })),
    options: options.map((option) => ({
      flags: option.flags,
      value: option.value ?? null,
      about: flat(option.about),
      isRepeatable: option.repeatable ?? false,
    })),
    examples,
  };
}
