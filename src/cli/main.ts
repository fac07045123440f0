/**
 * `viaduct`: one file per verb beside this one. A verb is imported when it is called, so that
 * `viaduct --help` does not load a virtual machine.
 */

import { ViaductError } from "../sys/sys-error.ts";

/** What a verb's file exports. */
interface Verb {
  /** @param args what follows the verb. @returns the exit status */
  run(args: readonly string[]): Promise<number>;
}

interface Entry {
  readonly summary: string;
  readonly load: () => Promise<Verb>;
}

const VERBS: Readonly<Record<string, Entry>> = {};

/** Exit statuses, the same for every verb (docs/cli). */
export const EXIT = {
  DONE: 0,
  REFUSED: 1,
  USAGE: 2,
  NOT_PERMITTED: 3,
  NOT_FOUND: 4,
  UNSUPPORTED: 5,
  GUEST_FAILED: 6,
} as const;

/** The exit status that a refusal of the host ends with. */
export function exitStatus(error: ViaductError): number {
  switch (error.code) {
    case "USAGE":
    case "PROPERTY":
      return EXIT.USAGE;
    case "NO_PERMISSION":
      return EXIT.NOT_PERMITTED;
    case "DEVICE_NOT_FOUND":
      return EXIT.NOT_FOUND;
    case "KVM_MISSING":
    case "VFIO_MISSING":
    case "NO_IOMMU_GROUP":
      return EXIT.UNSUPPORTED;
    default:
      return EXIT.REFUSED;
  }
}

function help(): string {
  const line = ([name, { summary }]: [string, Entry]) => `  ${name.padEnd(10)}${summary}`;
  return `usage: viaduct VERB [OPTION...]

Gives a virtual machine direct access to a device, through VFIO.

${Object.entries(VERBS).map(line).join("\n")}

"viaduct VERB --help" describes a verb.
`;
}

/**
 * Errors of the host are for people: what happened, and what to do. A stack is for our own bugs.
 */
function report(error: unknown): number {
  if (!(error instanceof ViaductError)) throw error;
  process.stderr.write(`viaduct: ${error.message}\n`);
  if (error.nextStep !== undefined) process.stderr.write(`  next: ${error.nextStep}\n`);
  return exitStatus(error);
}

/** @returns the exit status */
export async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === "help" || name === "--help" || name === "-h") {
    process.stdout.write(help());
    return name === undefined ? EXIT.USAGE : EXIT.DONE;
  }
  const verb = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined;
  if (!verb) {
    process.stderr.write(`viaduct: no verb "${name}"\n${help()}`);
    return EXIT.USAGE;
  }
  try {
    return await (await verb.load()).run(rest);
  } catch (error) {
    return report(error);
  }
}
