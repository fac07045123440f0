/**
 * QEMU 11.1 in a prefix, run with the prefix's own loader and libraries; no root, nothing
 * installed. It boots L1, and inside L1 it is the peer Viaduct is compared with.
 */

import { join } from "node:path";
import { prefix } from "./prefix.ts";

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

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
  const libraries = join(usr, "lib/x86_64-linux-gnu");
  return {
    program: join(usr, "lib64/ld-linux-x86-64.so.2"),
    args: [
      ...["--library-path", libraries, join(usr, "bin/qemu-system-x86_64")],
      ...["-L", join(usr, "share/qemu"), "-L", join(usr, "share/seabios")],
      ...["-L", join(usr, "lib/ipxe/qemu")],
      ...args,
    ],
    env: { QEMU_MODULE_DIR: join(libraries, "qemu") },
  };
}
