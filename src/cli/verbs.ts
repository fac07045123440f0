/**
 * Every verb, with what imports it when it is called.
 */

import type { Host } from "../host/host.ts";
import type { CommandDefinition } from "./command.ts";
import type { ParsedCommand } from "./parse-command.ts";

/** What a verb's file exports. Its functions return the exit status. */
export type VerbModule = PlainVerb | HostVerb;

interface PlainVerb {
  readonly command: CommandDefinition;
  run(parsed: ParsedCommand): number | Promise<number>;
}

/** A verb that works on a host: the running one, or with `--root` another's. */
interface HostVerb {
  readonly command: CommandDefinition;
  runOn(host: Host, parsed: ParsedCommand): number | Promise<number>;
}

export interface VerbEntry {
  readonly summary: string;
  readonly load: () => Promise<VerbModule>;
}

/** Every verb, in the order of the help. */
export const VERBS: Readonly<Record<string, VerbEntry>> = {
  run: {
    summary: "boot a guest and give it devices of this host",
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
  completion: {
    summary: "completion for bash, zsh and fish",
    load: () => import("./completion.ts"),
  },
  help: {
    summary: "describe a verb, as text or as a man page",
    load: () => import("./help.ts"),
  },
};

export const ALIASES: Readonly<Record<string, string>> = {
  ls: "list",
  detach: "bind",
  reattach: "restore",
};

/** By its name or another name of it. */
export function verbNamed(name: string): VerbEntry | undefined {
  const full = Object.hasOwn(ALIASES, name) ? ALIASES[name]! : name;
  return Object.hasOwn(VERBS, full) ? VERBS[full] : undefined;
}
