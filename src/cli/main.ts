/**
 * `viaduct`: one file per verb beside this one. A verb is imported when it is called, so that
 * `viaduct --help` does not load a virtual machine.
 */

import { ViaductError } from "../sys/sys-error.ts";
import { EXIT, exitStatus } from "./exit-status.ts";

/** What a verb's file exports. */
interface Verb {
  /** @param args what follows the verb. @returns the exit status */
  run(args: readonly string[]): Promise<number>;
}

interface Entry {
  readonly summary: string;
  readonly load: () => Promise<Verb>;
}

/** Every verb, in the order of the help. */
const VERBS: Readonly<Record<string, Entry>> = {
  run: {
    summary: "boots a guest and gives it devices of this host",
    load: () => import("./run.ts"),
  },
  list: {
    summary: "PCI devices with their IOMMU groups and drivers",
    load: () => import("./list.ts"),
  },
  groups: {
    summary: "IOMMU groups, and whether VFIO would take them",
    load: () => import("./groups.ts"),
  },
  show: {
    summary: "a device with its group, and its configuration space decoded",
    load: () => import("./show.ts"),
  },
  doctor: {
    summary: "what keeps devices from being assigned, and what to do",
    load: () => import("./doctor.ts"),
  },
  explain: {
    summary: "what an error message means, and what to do",
    load: () => import("./explain.ts"),
  },
  report: {
    summary: "what to send when asking for help",
    load: () => import("./report.ts"),
  },
  bind: {
    summary: "give devices to a VFIO driver",
    load: () => import("./bind.ts"),
  },
  restore: {
    summary: "put devices back to the driver they had",
    load: () => import("./restore.ts"),
  },
  overrides: {
    summary: "list driver overrides, or take them away",
    load: () => import("./overrides.ts"),
  },
  reset: {
    summary: "reset a device",
    load: () => import("./reset.ts"),
  },
  sriov: {
    summary: "show or set the number of virtual functions",
    load: () => import("./sriov.ts"),
  },
};

const ALIASES: Readonly<Record<string, string>> = {
  ls: "list",
  detach: "bind",
  reattach: "restore",
};

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
  if (name === undefined || name === "help" || name === "--help" || name === "-h") {
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
