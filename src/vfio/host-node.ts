/**
 * HostNode: what the host's sysfs says of a device before it is opened: its directory, its name,
 * its IOMMU group, whether it is a mediated device (spec/pci.md section 2, steps 1 to 4). Read
 * through the same HostTree as the doctor's checks, so that they do not disagree.
 */

import { basename } from "node:path/posix";
import { formatAddress, parseAddress } from "../host/pci-address.ts";
import type { HostTree } from "../host/tree.ts";
import { textOfErrno } from "../sys/errno-text.ts";
import { ViaductError } from "../sys/sys-error.ts";

export interface HostNode {
  /** The last component of its sysfs path: a PCI address, an mdev's UUID, a platform name. */
  readonly name: string;
  readonly sysfsPath: string;
  readonly groupNumber: number;
  readonly isMediated: boolean;
}

/** How a user names a device; `sysfsdev` wins. */
export interface HostAddress {
  /** `[domain:]bus:slot.function`. */
  readonly host?: string;
  readonly sysfsdev?: string;
}

/**
 * Completes a PCI address: `1:0.0` is `0000:01:00.0`.
 * @throws {ViaductError} USAGE
 */
export function parsePciAddress(text: string): string {
  const address = parseAddress(text);
  if (address?.function !== undefined) return formatAddress(address);
  throw new ViaductError("USAGE", `${text}: not a PCI address`, {
    nextStep: "Write it as [domain:]bus:slot.function, for example 0000:01:00.0 (see lspci -D).",
  });
}

/**
 * Finds a device on the host.
 * @throws {ViaductError} USAGE, DEVICE_NOT_FOUND, NO_IOMMU_GROUP
 */
export function findHostNode(address: HostAddress, tree: HostTree): HostNode {
  const sysfsPath = sysfsPathOf(address);
  const name = basename(sysfsPath);
  const { errno } = tree.status(sysfsPath);
  if (errno !== undefined) {
    throw new ViaductError(
      "DEVICE_NOT_FOUND",
      `vfio ${name}: no such host device: ${sysfsPath}: ${textOfErrno(errno)}`,
      { nextStep: "List the host's devices with `viaduct list`, or lspci -D." },
    );
  }
  return {
    name,
    sysfsPath,
    groupNumber: iommuGroup(tree, name, sysfsPath),
    isMediated: tree.link(`${sysfsPath}/subsystem`).value?.endsWith("/bus/mdev") ?? false,
  };
}

function sysfsPathOf(address: HostAddress): string {
  if (address.sysfsdev !== undefined) return address.sysfsdev.replace(/\/+$/, "");
  if (address.host !== undefined) return `/sys/bus/pci/devices/${parsePciAddress(address.host)}`;
  throw new ViaductError("USAGE", "vfio: No provided host device", {
    nextStep: "Use -device vfio-pci,host=DDDD:BB:DD.F or -device vfio-pci,sysfsdev=PATH_TO_DEVICE",
  });
}

function iommuGroup(tree: HostTree, name: string, sysfsPath: string): number {
  const link = tree.link(`${sysfsPath}/iommu_group`);
  if (link.value === undefined) {
    throw new ViaductError(
      "NO_IOMMU_GROUP",
      `vfio ${name}: no iommu_group found: ${textOfErrno(link.errno)}`,
      {
        nextStep:
          "Enable the IOMMU in the firmware (VT-d, AMD-Vi) and in the kernel " +
          "(intel_iommu=on), then look whether /sys/kernel/iommu_groups has entries.",
      },
    );
  }
  const group = basename(link.value);
  if (!/^\d+$/.test(group)) {
    throw new ViaductError("NO_IOMMU_GROUP", `vfio ${name}: iommu_group is ${group}, no number`);
  }
  return Number(group);
}
