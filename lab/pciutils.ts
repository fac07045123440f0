/** lspci of Debian's pciutils in a prefix: the oracle of what configuration space says. */

import { execFileSync } from "node:child_process";
import { basename, join } from "node:path";
import { type Command, prefix, prefixCommand } from "./prefix.ts";

const REQUEST = { name: "pciutils", suites: ["trixie"], packages: ["pciutils"] };

/** How to start lspci, on this machine or in L1. It brings its own list of names. */
export async function lspciCommand(args: readonly string[]): Promise<Command> {
  const root = await prefix(REQUEST);
  return prefixCommand(root, "lspci", ["-i", join(root, "usr/share/misc/pci.ids"), ...args]);
}

/** The files that lspci runs with in a small guest, by their path there. */
export async function lspciFiles(): Promise<Map<string, string>> {
  const root = await prefix(REQUEST);
  const { program, args } = prefixCommand(root, "lspci", []);
  const listed = execFileSync(program, ["--list", ...args], { encoding: "utf8" });
  const libraries = [...listed.matchAll(/=> (\S+\/lib\/\S+) /g)].map(([, path]) => path!);
  return new Map([
    ["bin/lspci", join(root, "usr/bin/lspci")],
    ["lib64/ld-linux-x86-64.so.2", program],
    ["usr/share/misc/pci.ids", join(root, "usr/share/misc/pci.ids")],
    ...libraries.map((path) => [`lib/x86_64-linux-gnu/${basename(path)}`, path] as const),
  ]);
}
