/**
 * A device's name as lspci prints it, with `-n` and `-nn`.
 */

import type { HostDevice } from "./pci-device.ts";
import type { PciIds } from "./pci-ids.ts";

/** 0: names; 1: numbers (`-n`); 2: both (`-nn`). */
export type NumberStyle = 0 | 1 | 2;

/** `VGA compatible controller [0300]: NVIDIA Corporation GA102 [10de:2204] (rev a1)`. */
export function describe(device: HostDevice, ids: PciIds, style: NumberStyle = 0): string {
  const classCode = hex(device.classCode >> 8, 4);
  const pair = `${hex(device.vendor, 4)}:${hex(device.device, 4)}`;
  const revision = device.revision === 0 ? "" : ` (rev ${hex(device.revision, 2)})`;
  if (style === 1) return `${classCode}: ${pair}${revision}`;
  const classNumber = style === 2 ? ` [${classCode}]` : "";
  const vendor = ids.vendor(device.vendor);
  const name = pairText(vendor, ids.device(device.vendor, device.device), pair, style);
  return `${classText(device, ids)}${classNumber}: ${name}${revision}`;
}

/** `(prog-if 02 [NVM Express])`, as lspci adds it with -v; empty for interface 0 without a name. */
export function interfaceText(device: HostDevice, ids: PciIds): string {
  const progIf = device.classCode & 0xff;
  const name = ids.interfaceOf(device.classCode);
  if (name !== undefined) return ` (prog-if ${hex(progIf, 2)} [${name}])`;
  return progIf === 0 ? "" : ` (prog-if ${hex(progIf, 2)})`;
}

export function classText(device: HostDevice, ids: PciIds): string {
  return ids.classOf(device.classCode >> 8) ?? `Class ${hex(device.classCode >> 8, 4)}`;
}

/** Vendor and device, by name. */
export function deviceText(device: HostDevice, ids: PciIds): string {
  const pair = `${hex(device.vendor, 4)}:${hex(device.device, 4)}`;
  const vendor = ids.vendor(device.vendor);
  return pairText(vendor, ids.device(device.vendor, device.device), pair, 0);
}

/** What a subsystem is called: under its device, else as the device that it has the numbers of. */
export function subsystemText(
  device: HostDevice,
  ids: PciIds,
  subsystem: { readonly vendor: number; readonly device: number },
  style: NumberStyle,
): string {
  const pair = `${hex(subsystem.vendor, 4)}:${hex(subsystem.device, 4)}`;
  const isOwn = subsystem.vendor === device.vendor && subsystem.device === device.device;
  const name = isOwn
    ? ids.device(device.vendor, device.device)
    : ids.subsystem(device.vendor, device.device, subsystem.vendor, subsystem.device);
  return style === 1 ? pair : pairText(ids.vendor(subsystem.vendor), name, pair, style);
}

/** A vendor and a device; what pci.ids does not know is printed as lspci prints it. */
function pairText(
  vendor: string | undefined,
  name: string | undefined,
  pair: string,
  style: NumberStyle,
): string {
  const numbers = style === 2 ? ` [${pair}]` : "";
  if (vendor === undefined) return style === 2 ? `Device${numbers}` : `Device ${pair}`;
  if (name !== undefined) return `${vendor} ${name}${numbers}`;
  return style === 2 ? `${vendor} Device${numbers}` : `${vendor} Device ${pair.slice(5)}`;
}

export function hex(value: number, width: number): string {
  return value.toString(16).padStart(width, "0");
}
