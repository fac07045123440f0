/**
 * The PCI devices behind a class device: `/sys/class/net/eth0`, `/sys/class/block/nvme0n1p2`.
 */

import { lastAddressIn } from "./pci-address.ts";
import type { HostTree } from "./tree.ts";

/** Addresses of the PCI functions it belongs to: several for a disk with more than one path. */
export function pciOwners(tree: HostTree, folder: string, name: string): string[] {
  const target = tree.link(`/sys/class/${folder}/${name}`).value;
  if (target === undefined) return [];
  const address = lastAddressIn(target);
  if (address !== undefined) return [address];
  // The disk of an NVMe subsystem with several controllers stands below the subsystem.
  const subsystem = /\/nvme-subsystem\/(nvme-subsys\d+)\//.exec(target)?.[1];
  if (subsystem === undefined) return [];
  const controllers = tree
    .names(`/sys/class/nvme-subsystem/${subsystem}`)
    .filter((one) => /^nvme\d+$/.test(one));
  return controllers.flatMap((one) => pciOwners(tree, "nvme", one));
}
