/** lspci of Debian's pciutils in a prefix: the oracle of what configuration space says. */

import { join } from "node:path";
import { type Command, prefix, prefixCommand } from "./prefix.ts";

/** How to start lspci, on this machine or in L1. It brings its own list of names. */
export async function lspciCommand(args: readonly string[]): Promise<Command> {
  const request = { name: "pciutils", suites: ["trixie"], packages: ["pciutils"] };
  const root = await prefix(request);
  return prefixCommand(root, "lspci", ["-i", join(root, "usr/share/misc/pci.ids"), ...args]);
}
