/**
 * How the host's kernel was built: `/boot/config-RELEASE`, else `/proc/config.gz`.
 */

import { gunzipSync } from "node:zlib";
import type { Evidence } from "./findings/finding.ts";
import type { HostTree } from "./tree.ts";

/** A kernel's configuration is some 300 KB. */
const BYTES_MAX = 4 << 20;

/** The line of an option (`CONFIG_VFIO=m`) with its file; undefined when the host does not say. */
export function configSetting(tree: HostTree, option: string): Evidence | undefined {
  for (const { path, text } of configurations(tree)) {
    const pattern = new RegExp(`^(?:${option}=.*|# ${option} is not set)$`, "m");
    const value = pattern.exec(text)?.[0];
    if (value !== undefined) return { path, value };
  }
  return undefined;
}

export function configPath(tree: HostTree): string {
  return `/boot/config-${tree.text("/proc/sys/kernel/osrelease") ?? ""}`;
}

/** Every configuration that the host has. */
export function configurations(tree: HostTree): Array<{ path: string; text: string }> {
  const found: Array<{ path: string; text: string }> = [];
  const path = configPath(tree);
  const text = tree.text(path);
  if (text !== undefined) found.push({ path, text });
  const packed = tree.bytes("/proc/config.gz").value;
  const unpacked = packed === undefined ? undefined : unzipped(packed);
  if (unpacked !== undefined) found.push({ path: "/proc/config.gz", text: unpacked });
  return found;
}

function unzipped(packed: Uint8Array): string | undefined {
  try {
    return gunzipSync(packed, { maxOutputLength: BYTES_MAX }).toString("utf8");
  } catch {
    // Damaged, or no gzip at all: it says nothing.
    return undefined;
  }
}
