/**
 * Which host a verb looks at: the running one, or what `--root` names.
 */

import { readFileSync, statSync } from "node:fs";
import { HostTree } from "../host/tree.ts";
import { ViaductError } from "../sys/sys-error.ts";
import type { OptionDefinition } from "./command.ts";
import type { ParsedCommand } from "./parse-command.ts";

export const ROOT_OPTION: OptionDefinition = {
  flags: ["--root"],
  value: "DIR|FILE",
  about: "look at a captured tree, or a bundle of viaduct report, instead of the running host",
  offers: "file",
};

/**
 * The tree that `--root` names, or the running host.
 * @throws {ViaductError} DEVICE_NOT_FOUND when there is no such folder
 */
export async function openTree(parsed: ParsedCommand): Promise<HostTree> {
  const root = parsed.value("--root");
  if (root === undefined) return HostTree.live();
  let isFolder: boolean;
  try {
    isFolder = statSync(root).isDirectory();
  } catch (cause) {
    throw new ViaductError("DEVICE_NOT_FOUND", `${root}: no such folder or bundle`, { cause });
  }
  if (isFolder) return HostTree.folder(root);
  const [{ unpackBundle }, { MemorySource }] = await Promise.all([
    import("../host/bundle.ts"),
    import("../host/tree-source.ts"),
  ]);
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(root);
  } catch (cause) {
    throw new ViaductError("NO_PERMISSION", `${root}: cannot be read`, { cause });
  }
  return new HostTree(new MemorySource(unpackBundle(root, bytes)), { name: root });
}
