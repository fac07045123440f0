/**
 * Who has a device node open: `/proc/<pid>/fd` of every process this user may look into.
 */

import type { HostDevice } from "./pci-device.ts";
import type { HostTree } from "./tree.ts";

export interface Opener {
  readonly pid: number;
  readonly name: string;
  /** The node, for example `/dev/vfio/12`. */
  readonly node: string;
}

export interface Openers {
  readonly found: readonly Opener[];
  /** Processes whose descriptors could not be seen: no opener is not "nobody" then. */
  readonly hidden: number;
}

/** Finds the processes that hold a node whose path `wanted` accepts. */
export function openersOf(tree: HostTree, wanted: (node: string) => boolean): Openers {
  // What is hidden is counted, and a check says so where it matters.
  return tree.apart(() => search(tree, wanted));
}

function search(tree: HostTree, wanted: (node: string) => boolean): Openers {
  const found: Opener[] = [];
  let hidden = 0;
  for (const name of tree.names("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const fds = tree.list(`/proc/${name}/fd`);
    if (fds.value === undefined) {
      if (fds.missing !== "absent") hidden++;
      continue;
    }
    const nodes = new Set<string>();
    for (const fd of fds.value) {
      const node = tree.link(`/proc/${name}/fd/${fd}`).value;
      if (node?.startsWith("/dev/") && wanted(node)) nodes.add(node);
    }
    const command = nodes.size === 0 ? "" : (tree.text(`/proc/${name}/comm`) ?? "(name unknown)");
    for (const node of nodes) found.push({ pid: Number(name), name: command, node });
  }
  return { found, hidden };
}

/** The holders of VFIO's nodes: group nodes and device nodes. */
export function vfioOpeners(tree: HostTree): Openers {
  return openersOf(tree, (node) => node.startsWith("/dev/vfio/") && node !== "/dev/vfio/vfio");
}

/** Of these openers, those that hold a device: by its group's node, or by its own. */
export function openersOfDevice({ found }: Openers, device: HostDevice): readonly Opener[] {
  if (found.length === 0) return found;
  const { group, vfioDevice } = device;
  const nodes = [
    ...(group === undefined ? [] : [`/dev/vfio/${group}`, `/dev/vfio/noiommu-${group}`]),
    ...(vfioDevice === undefined ? [] : [`/dev/vfio/devices/${vfioDevice}`]),
  ];
  return found.filter(({ node }) => nodes.includes(node));
}
