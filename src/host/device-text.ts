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
  const deviceNumber = style === 2 && known(device, ids) ? ` [${pair}]` : "";
  const name = deviceText(device, ids);
  return `${classText(device, ids)}${classNumber}: ${name}${deviceNumber}${revision}`;
}

/** `(prog-if 02 [NVM Express])`, as lspci adds it with -v; empty for interface 0 without a name. */
export function interfaceText(device: HostDevice, ids: PciIds): string {
  const progIf = device.classCode & 0xff;
  const name = ids.interfaceOf(device.classCode);
  if (name !== undefined) return ` (prog-if ${hex(progIf, 2)} [${name}])`;
  return progIf === 0 ? "" : ` (prog-if ${hex(progIf, 2)})`;
}

function known(device: HostDevice, ids: PciIds): boolean {
  return ids.vendor(device.vendor) !== undefined;
}

export function classText(device: HostDevice, ids: PciIds): string {
  return ids.classOf(device.classCode >> 8) ?? `Class ${hex(device.classCode >> 8, 4)}`;
}

/** Vendor and device; what pci.ids does not know is printed as lspci prints it. */
export function deviceText(device: HostDevice, ids: PciIds): string {
  const vendor = ids.vendor(device.vendor);
  const name = ids.device(device.vendor, device.device);
  if (vendor === undefined) return `Device ${hex(device.vendor, 4)}:${hex(device.device, 4)}`;
  return `${vendor} ${name ?? `Device ${hex(device.device, 4)}`}`;
}

export function hex(value: number, width: number): string {
  return value.toString(16).padStart(width, "0");
}
