/**
 * What the host verbs share: which tree they look at (`--root`), and the JSON of devices and
 * groups.
 */

import { readFileSync, statSync } from "node:fs";
import { classText, deviceText, hex } from "../host/device-text.ts";
import { blockersOf, type HostGroup, verdictOf } from "../host/host.ts";
import type { Openers } from "../host/openers.ts";
import type { HostDevice } from "../host/pci-device.ts";
import type { PciIds } from "../host/pci-ids.ts";
import { HostTree } from "../host/tree.ts";
import { ViaductError } from "../sys/sys-error.ts";
import type { OptionDefinition, ParsedCommand } from "./command.ts";

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

export function deviceJson(device: HostDevice, ids: PciIds, openers: Openers | undefined) {
  const node = `/dev/vfio/${device.group}`;
  return {
    address: device.address,
    vendor: hex(device.vendor, 4),
    device: hex(device.device, 4),
    subsystemVendor: hex(device.subsystemVendor, 4),
    subsystemDevice: hex(device.subsystemDevice, 4),
    class: hex(device.classCode, 6),
    revision: hex(device.revision, 2),
    className: classText(device, ids),
    name: deviceText(device, ids),
    driver: device.driver ?? null,
    override: device.override ?? null,
    group: device.group ?? null,
    hasReset: device.hasReset ?? null,
    resetMethods: device.resetMethods ?? null,
    powerState: device.powerState ?? null,
    numaNode: device.numaNode ?? null,
    irq: device.irq ?? null,
    isBootDisplay: device.isBootDisplay,
    parent: device.parent ?? null,
    interfaces: device.interfaces,
    sriov: device.sriov ?? null,
    resources: device.resources,
    openers: openers?.found.filter((opener) => opener.node === node) ?? null,
  };
}

export function groupJson(group: HostGroup) {
  return {
    number: group.number,
    verdict: verdictOf(group),
    devices: group.devices.map((device) => device.address),
    blockedBy: blockersOf(group).map((device) => ({
      address: device.address,
      driver: device.driver ?? null,
    })),
  };
}

/** The reset column of `groups` and `list -v`. */
export function resetText(device: HostDevice): string {
  const methods = device.resetMethods;
  if (methods !== undefined && methods.length > 0) return methods.join(" ");
  if (device.hasReset === undefined) return "not visible";
  return device.hasReset ? "yes" : "none";
}
