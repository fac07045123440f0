/**
 * HostNode: what the host's sysfs says of a device before it is opened: its directory, its name,
 * its IOMMU group, whether it is a mediated device (spec/pci.md section 2, steps 1 to 4). And who
 * holds a group that is busy.
 */

import { readdirSync, readFileSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { ViaductError } from "../sys/sys-error.ts";
import { textOfErrno } from "./errno-text.ts";

/** Where the kernel's file systems are; tests put the software host's there. */
export interface HostRoots {
  readonly sysfs: string;
  readonly proc: string;
}

export const HOST_ROOTS: HostRoots = { sysfs: "/sys", proc: "/proc" };

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

const PCI_ADDRESS = /^(?:([0-9a-f]{1,4}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-9]+)$/i;

/**
 * Completes a PCI address: `1:0.0` is `0000:01:00.0`. Domain, bus and slot are hexadecimal, the
 * function is decimal.
 * @throws {ViaductError} USAGE
 */
export function parsePciAddress(text: string): string {
  const match = PCI_ADDRESS.exec(text);
  const [domain, bus, slot] = [match?.[1] ?? "0", match?.[2], match?.[3]].map((part) =>
    Number.parseInt(part ?? "", 16),
  );
  const fn = Number(match?.[4]);
  if (!match || slot! > 0x1f || fn > 7) {
    throw new ViaductError("USAGE", `${text}: not a PCI address`, {
      nextStep: "Write it as [domain:]bus:slot.function, for example 0000:01:00.0 (see lspci -D).",
    });
  }
  const pad = (value: number, width: number) => value.toString(16).padStart(width, "0");
  return `${pad(domain!, 4)}:${pad(bus!, 2)}:${pad(slot!, 2)}.${fn}`;
}

/**
 * Finds a device on the host.
 * @throws {ViaductError} USAGE, DEVICE_NOT_FOUND, NO_IOMMU_GROUP
 */
export function findHostNode(address: HostAddress, roots: HostRoots = HOST_ROOTS): HostNode {
  const sysfsPath = sysfsPathOf(address, roots);
  const name = basename(sysfsPath);
  try {
    statSync(sysfsPath);
  } catch (cause) {
    throw new ViaductError(
      "DEVICE_NOT_FOUND",
      `vfio ${name}: no such host device: ${sysfsPath}: ${textOfErrno((cause as NodeJS.ErrnoException).code)}`,
      { cause, nextStep: "List the host's devices with `viaduct list`, or lspci -D." },
    );
  }
  return {
    name,
    sysfsPath,
    groupNumber: iommuGroup(name, sysfsPath),
    isMediated: isMediated(sysfsPath, roots),
  };
}

function sysfsPathOf(address: HostAddress, roots: HostRoots): string {
  if (address.sysfsdev !== undefined) return address.sysfsdev.replace(/\/+$/, "");
  if (address.host !== undefined) {
    return join(roots.sysfs, "bus/pci/devices", parsePciAddress(address.host));
  }
  throw new ViaductError("USAGE", "vfio: No provided host device", {
    nextStep: "Use -device vfio-pci,host=DDDD:BB:DD.F or -device vfio-pci,sysfsdev=PATH_TO_DEVICE",
  });
}

function iommuGroup(name: string, sysfsPath: string): number {
  let group: string;
  try {
    group = basename(readlinkSync(join(sysfsPath, "iommu_group")));
  } catch (cause) {
    throw new ViaductError(
      "NO_IOMMU_GROUP",
      `vfio ${name}: no iommu_group found: ${textOfErrno((cause as NodeJS.ErrnoException).code)}`,
      {
        cause,
        nextStep:
          "Enable the IOMMU in the firmware (VT-d, AMD-Vi) and in the kernel " +
          "(intel_iommu=on), then look whether /sys/kernel/iommu_groups has entries.",
      },
    );
  }
  if (!/^\d+$/.test(group)) {
    throw new ViaductError("NO_IOMMU_GROUP", `vfio ${name}: iommu_group is ${group}, no number`);
  }
  return Number(group);
}

function isMediated(sysfsPath: string, roots: HostRoots): boolean {
  try {
    const subsystem = realpathSync(join(sysfsPath, "subsystem"));
    return subsystem === join(realpathSync(roots.sysfs), "bus/mdev");
  } catch {
    // A device without a subsystem is on no bus, so not on that one.
    return false;
  }
}

export interface GroupMember {
  readonly name: string;
  /** Undefined when no driver is bound. */
  readonly driver: string | undefined;
}

/** The devices of an IOMMU group and their drivers; empty when sysfs does not say. */
export function groupMembers(groupNumber: number, roots: HostRoots = HOST_ROOTS): GroupMember[] {
  const folder = join(roots.sysfs, `kernel/iommu_groups/${groupNumber}/devices`);
  return namesIn(folder).map((name) => ({ name, driver: linkName(join(folder, name, "driver")) }));
}

export interface Holder {
  readonly pid: number;
  readonly name: string;
}

/**
 * The processes that have `path` open, as far as this user may see (`/proc/<pid>/fd`). Slow with
 * many processes: for error messages only.
 */
export function holdersOf(path: string, roots: HostRoots = HOST_ROOTS): Holder[] {
  const holders: Holder[] = [];
  for (const pid of namesIn(roots.proc).filter((name) => /^\d+$/.test(name))) {
    const folder = join(roots.proc, pid, "fd");
    if (namesIn(folder).some((fd) => linkTarget(join(folder, fd)) === path)) {
      holders.push({ pid: Number(pid), name: processName(join(roots.proc, pid, "comm")) });
    }
  }
  return holders;
}

function processName(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "(name unknown)";
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function linkName(path: string): string | undefined {
  const target = linkTarget(path);
  return target === undefined ? undefined : basename(target);
}
