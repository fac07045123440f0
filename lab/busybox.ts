/** A static busybox: the userspace of L1's first steps and of the small guests. */

import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { prefix } from "./prefix.ts";

export async function busybox(): Promise<string> {
  const request = { name: "busybox", suites: ["trixie"], packages: ["busybox-static"] };
  return join(await prefix(request), "usr/bin/busybox");
}

/** Module and index files are xz; a machine may have no xz, and busybox does. */
export function decompressXz(bytes: Uint8Array, busybox: string): Buffer {
  return execFileSync(busybox, ["xzcat"], { input: bytes, maxBuffer: 2 ** 30 });
}
