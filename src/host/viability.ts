/**
 * Viability of an IOMMU group: the kernel gives a group to VFIO only when no member is in the hands
 * of a driver that does its own DMA. A member is harmless when it has no driver, a VFIO driver, or
 * one that leaves DMA to others (`driver_managed_dma`: pci-stub, and pcieport on bridges). The
 * doctor decides by this, and so does what `run` says of a group that it was refused.
 */

import type { HostTree } from "./tree.ts";

export interface GroupMember {
  /** A PCI address; a group can have ACPI and platform devices too. */
  readonly name: string;
  /** Undefined when no driver is bound. */
  readonly driver: string | undefined;
  /** Has the driver registered it with VFIO (`vfio-dev/`)? */
  readonly isVfioDevice: boolean;
}

/** The devices of a group, all or those with a name that is wanted; empty when sysfs is silent. */
export function groupMembers(
  tree: HostTree,
  number: number,
  isWanted: (name: string) => boolean = () => true,
): GroupMember[] {
  const folder = `/sys/kernel/iommu_groups/${number}/devices`;
  return tree
    .names(folder)
    .filter(isWanted)
    .map((name) => ({
      name,
      driver: tree.linkName(`${folder}/${name}/driver`),
      isVfioDevice: tree.names(`${folder}/${name}/vfio-dev`).length > 0,
    }));
}

/** Does VFIO refuse the group because of this member? */
export function blocksGroup(member: GroupMember): boolean {
  const { driver } = member;
  if (driver === undefined || driver === "pci-stub" || driver === "pcieport") return false;
  return !isWithVfio(member);
}

/** Would VFIO give this device out? */
export function isWithVfio(member: GroupMember): boolean {
  // In this order: most drivers tell by their name, and the other is one more folder to read.
  return isVfioDriver(member.driver) || member.isVfioDevice;
}

/** `vfio-pci` and the variant drivers (`mlx5_vfio_pci`, `hisi-acc-vfio-pci` and so on). */
export function isVfioDriver(driver: string | undefined): boolean {
  return driver !== undefined && /vfio/.test(driver);
}
