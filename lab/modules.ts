/**
 * Kernel modules for an initramfs: those asked for and what they depend on, in an order in which
 * insmod takes them. Dependencies are read from each module's own `.modinfo`.
 */

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { decompressXz } from "./busybox.ts";
import { type Kernel, moduleFile } from "./kernel.ts";

export interface ModuleFile {
  /** `nvme_core.ko`. */
  readonly name: string;
  readonly content: Buffer;
}

function read(path: string, busybox: string): Buffer {
  const bytes = readFileSync(path);
  return path.endsWith(".xz") ? decompressXz(bytes, busybox) : bytes;
}

/** Names that the kernel has no file for are built in. */
export function modulesInOrder(
  kernel: Kernel,
  wanted: readonly string[],
  busybox: string,
): ModuleFile[] {
  const done = new Map<string, ModuleFile | undefined>();
  const visit = (name: string): void => {
    const key = name.replaceAll("-", "_");
    const path = done.has(key) ? undefined : moduleFile(kernel, key);
    if (path === undefined) return;
    done.set(key, undefined);
    const content = read(path, busybox);
    const depends = /\0depends=([^\0]*)\0/.exec(content.toString("latin1"))?.[1] ?? "";
    for (const each of depends.split(",")) if (each !== "") visit(each);
    done.delete(key);
    done.set(key, { name: basename(path).replace(/\.ko.*$/, ".ko"), content });
  };
  for (const name of wanted) visit(name);
  return [...done.values()].filter((each) => each !== undefined);
}
