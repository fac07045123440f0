/**
 * The JSON of devices and groups, as every verb prints it.
 */

import { classText, deviceText, hex } from "../host/device-text.ts";
import { type HostGroup, verdictOf } from "../host/host.ts";
import { type Openers, openersOfDevice } from "../host/openers.ts";
import type { HostDevice } from "../host/pci-device.ts";
import type { PciIds } from "../host/pci-ids.ts";

export function deviceJson(device: HostDevice, ids: PciIds, openers: Openers | undefined) {
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
    openers: openersJson(device, openers),
  };
}

/** Null: not asked, or none among those that this user may see. */
function openersJson(device: HostDevice, openers: Openers | undefined) {
  if (openers === undefined) return null;
  const found = openersOfDevice(openers, device);
  return found.length === 0 && openers.hidden > 0 ? null : found;
}

export function groupJson(group: HostGroup) {
  return {
    number: group.number,
    verdict: verdictOf(group),
    devices: group.devices.map((device) => device.address),
    blockedBy: group.blockers.map(({ name, driver }) => ({ name, driver: driver ?? null })),
  };
}

/** The reset column of `groups` and `list -v`. */
export function resetText(device: HostDevice): string {
  const methods = device.resetMethods;
  if (methods !== undefined && methods.length > 0) return methods.join(" ");
  if (device.hasReset === undefined) return "not visible";
  return device.hasReset ? "yes" : "none";
}
