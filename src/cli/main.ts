/**
 * `viaduct`: one file per verb beside this one. A verb is imported when it is called, so that
 * `viaduct --help` does not load a virtual machine. What every verb would do first is done here:
 * its arguments, `--help`, and the host that it looks at.
 */

import { ViaductError } from "../sys/sys-error.ts";
import { EXIT, exitStatus } from "./exit-status.ts";
import { helpText } from "./help-text.ts";
import { closest } from "./options.ts";
import { print, SCHEMA_VERSION } from "./output.ts";
import { parseCommand } from "./parse-command.ts";
import { ALIASES, VERBS, type VerbEntry, verbNamed } from "./verbs.ts";

function overview(): string {
  const line = ([name, { summary }]: [string, VerbEntry]) => `  ${name.padEnd(12)}${summary}`;
  return `usage: viaduct VERB [OPTION...]

Gives a virtual machine direct access to a device, through VFIO.

${Object.entries(VERBS).map(line).join("\n")}

"viaduct VERB --help" describes a verb.
`;
}

/**
 * Errors of the host are for people: what happened, and what to do. A stack is for our own bugs.
 */
function report(error: unknown, json: boolean): number {
  if (!(error instanceof ViaductError)) throw error;
  const { code, message, nextStep } = error;
  if (json) {
    const document = { schemaVersion: SCHEMA_VERSION, error: { code, message, nextStep } };
    process.stderr.write(`${JSON.stringify(document)}\n`);
  } else {
    process.stderr.write(`viaduct: ${message}\n  next: ${nextStep}\n`);
  }
  return exitStatus(error);
}

async function runVerb(name: string, args: readonly string[]): Promise<number> {
  const entry = verbNamed(name);
  if (entry === undefined) {
    const near = closest(name, [...Object.keys(VERBS), ...Object.keys(ALIASES)]);
    const hint = near === undefined ? "" : `; did you mean ${near}?`;
    throw new ViaductError("USAGE", `no verb "${name}"${hint}`);
  }
  const verb = await entry.load();
  const parsed = parseCommand(verb.command, args);
  if (parsed.has("--help")) {
    print(helpText(verb.command));
    return EXIT.DONE;
  }
  if ("run" in verb) return verb.run(parsed);
  const [{ Host }, { openTree }] = await Promise.all([
    import("../host/host.ts"),
    import("./open-tree.ts"),
  ]);
  return verb.runOn(Host.scan(await openTree(parsed)), parsed);
}

/** @returns the exit status */
export async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  const isOverview = name === "help" && rest.length === 0;
  if (name === undefined || isOverview || name === "--help" || name === "-h") {
    print(overview());
    return name === undefined ? EXIT.USAGE : EXIT.DONE;
  }
  try {
    return await runVerb(name, rest);
  } catch (error) {
    return report(error, rest.includes("--json"));
  }
}
