/**
 * `viaduct help VERB`: its help, or its man page.
 */

import type { CommandDefinition } from "./command.ts";
import { EXIT } from "./exit-status.ts";
import { helpText, manPage } from "./help-text.ts";
import { print } from "./output.ts";
import { type ParsedCommand, usage } from "./parse-command.ts";
import { verbNamed } from "./verbs.ts";

export const command: CommandDefinition = {
  name: "help",
  summary: "describe a verb, as text or as a man page",
  description: [`Prints what "viaduct VERB --help" prints, or with --man a page for man(1).`],
  operands: [{ name: "VERB", about: "one of viaduct's verbs", optional: true, offers: "verb" }],
  options: [{ flags: ["--man"], about: "as a man page in roff" }],
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
  print(parsed.has("--man") ? manPage(verb.command) : helpText(verb.command));
  return EXIT.DONE;
}
