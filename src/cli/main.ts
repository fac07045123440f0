/**
 * `viaduct`: one file per verb beside this one. A verb is imported when it is called, so that
 * `viaduct --help` does not load a virtual machine.
 */

import { ViaductError } from "../sys/sys-error.ts";
import { EXIT, exitStatus } from "./exit-status.ts";
import { ALIASES, VERBS, type VerbEntry } from "./verbs.ts";

function help(): string {
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
  if (json) {
    const { code, message, nextStep } = error;
    process.stderr.write(
      `${JSON.stringify({ schemaVersion: 1, error: { code, message, nextStep } })}\n`,
    );
    return exitStatus(error);
  }
  process.stderr.write(`viaduct: ${error.message}\n`);
  process.stderr.write(`  next: ${error.nextStep}\n`);
  return exitStatus(error);
}

/** @returns the exit status */
export async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  const isOverview = name === "help" && rest.length === 0;
  if (name === undefined || isOverview || name === "--help" || name === "-h") {
    process.stdout.write(help());
    return name === undefined ? EXIT.USAGE : EXIT.DONE;
  }
  const full = ALIASES[name] ?? name;
  const verb = Object.hasOwn(VERBS, full) ? VERBS[full] : undefined;
  if (!verb) {
    process.stderr.write(`viaduct: no verb "${name}"\n${help()}`);
    return EXIT.USAGE;
  }
  try {
    return await (await verb.load()).run(rest);
  } catch (error) {
    return report(error, rest.includes("--json"));
  }
}
