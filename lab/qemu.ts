/**
 * QEMU 11.1 in a prefix, run with the prefix's own loader and libraries; no root, nothing
 * installed. It boots L1, and inside L1 it is the peer Viaduct is compared with.
 */

import { join } from "node:path";
import { type Command, prefix, prefixCommand } from "./prefix.ts";

const SUITES = ["trixie-backports", "trixie"];
const PACKAGES = [
  "qemu-system-x86",
  "qemu-system-common",
  "qemu-system-data",
  "seabios",
  "ipxe-qemu",
];

export function qemuPrefix(): Promise<string> {
  return prefix({ name: "qemu", suites: SUITES, packages: PACKAGES });
}

/** How to start `qemu-system-x86_64` of a prefix. */
export function qemuCommand(prefix: string, args: readonly string[]): Command {
  const usr = join(prefix, "usr");
  const firmware = ["share/qemu", "share/seabios", "lib/ipxe/qemu"];
  const places = firmware.flatMap((folder) => ["-L", join(usr, folder)]);
  return {
    ...prefixCommand(prefix, "qemu-system-x86_64", [...places, ...args]),
    env: { QEMU_MODULE_DIR: join(usr, "lib/x86_64-linux-gnu/qemu") },
  };
}
