/**
 * `viaduct help VERB`: its help, or its man page.
 */

import { ViaductError } from "../sys/sys-error.ts";
import { type CommandDefinition, parseCommand } from "./command.ts";
import { EXIT } from "./exit-status.ts";
import { helpText, manPage } from "./help-text.ts";
import { print } from "./output.ts";
import { ALIASES, VERBS } from "./verbs.ts";

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

export async function run(args: readonly string[]): Promise<number> {
  const parsed = parseCommand(command, args);
  const name = parsed.operands[0] ?? "help";
  if (parsed.has("--help")) {
    print(helpText(command));
    return EXIT.DONE;
  }
  const full = ALIASES[name] ?? name;
  if (!Object.hasOwn(VERBS, full)) {
    throw new ViaductError("USAGE", `no verb "${name}"`, { nextStep: "See viaduct --help." });
  }
  const verb = await VERBS[full]!.load();
  if (verb.command === undefined) return verb.run(["--help"]);
  print(parsed.has("--man") ? manPage(verb.command) : helpText(verb.command));
  return EXIT.DONE;
}
