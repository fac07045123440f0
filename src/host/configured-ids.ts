/**
 * The ids that vfio-pci is told to take: on the kernel's command line and in modprobe.d.
 */

import type { Evidence } from "./findings/finding.ts";
import type { HostDevice } from "./pci-device.ts";
import type { HostTree } from "./tree.ts";

export interface ConfiguredId {
  readonly vendor: number;
  readonly device: number;
  /** `10de:2204`. */
  readonly text: string;
  /** The file it is set in. */
  readonly path: string;
}

export function configuredIds(tree: HostTree): ConfiguredId[] {
  const ids: ConfiguredId[] = [];
  const take = (list: string | undefined, path: string) => {
    for (const part of list?.split(",") ?? []) {
      const match = /^"?([0-9a-f]{4}):([0-9a-f]{4})/i.exec(part.trim());
      if (match === null) continue;
      const [vendor, device] = [match[1]!.toLowerCase(), match[2]!.toLowerCase()];
      ids.push({
        vendor: Number.parseInt(vendor, 16),
        device: Number.parseInt(device, 16),
        text: `${vendor}:${device}`,
        path,
      });
    }
  };
  const line = tree.text("/proc/cmdline") ?? "";
  take(/\bvfio[-_]pci\.ids=(\S+)/.exec(line)?.[1], "/proc/cmdline");
  for (const name of tree.names("/etc/modprobe.d")) {
    const path = `/etc/modprobe.d/${name}`;
    for (const option of (tree.text(path) ?? "").split("\n")) {
      take(/^\s*options\s+vfio[-_]pci\s.*\bids=(\S+)/.exec(option)?.[1], path);
    }
  }
  return ids;
}

/** The line that makes a driver wait for vfio-pci, with its file. */
export function softdepOf(tree: HostTree, driver: string): Evidence | undefined {
  for (const name of tree.names("/etc/modprobe.d")) {
    const path = `/etc/modprobe.d/${name}`;
    for (const line of (tree.text(path) ?? "").split("\n")) {
      const match = /^\s*softdep\s+(\S+)\s+pre:.*\bvfio[-_]pci\b/.exec(line);
      if (match?.[1]?.replaceAll("-", "_") === driver.replaceAll("-", "_")) {
        return { path, value: line.trim() };
      }
    }
  }
  return undefined;
}

export function matches(id: ConfiguredId, device: HostDevice): boolean {
  return device.vendor === id.vendor && device.device === id.device;
}
