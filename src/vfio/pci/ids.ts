/**
 * Who the device is: the IDs a guest sees, with the user's overrides (spec/pci.md 4.11 to 4.14),
 * and the effective ones by which quirks, denylists and resets are chosen.
 */

import {
  PCI_CLASS_DEVICE,
  PCI_CLASS_PROG,
  PCI_DEVICE_ID,
  PCI_HEADER_TYPE,
  PCI_SUBSYSTEM_ID,
  PCI_SUBSYSTEM_VENDOR_ID,
  PCI_VENDOR_ID,
} from "../../abi/pci-regs.ts";
import type { ConfigSpace } from "../../pci/config-space.ts";
import { ViaductError } from "../../sys/sys-error.ts";
import { ID_UNSET, type VfioPciProperties } from "./properties.ts";
import * as trace from "./trace.ts";

const MULTIFUNCTION = 0x80;
const CLASS_VGA = 0x0300;

/** Makes a field the VMM's own: the guest reads `value` and cannot change it. */
export function emulateField(
  config: ConfigSpace,
  offset: number,
  length: number,
  value: number,
): void {
  config.write(offset, length, value);
  config.setMask(config.emuMask, offset, length, 0xffff_ffff);
  config.setMask(config.wmask, offset, length, 0);
}

const OVERRIDES = [
  // An all-ones vendor ID means that no device is there.
  ["x-pci-vendor-id", PCI_VENDOR_ID, 0xfffe, "vendor ID", trace.vfio_pci_emulated_vendor_id],
  ["x-pci-device-id", PCI_DEVICE_ID, 0xffff, "device ID", trace.vfio_pci_emulated_device_id],
  [
    "x-pci-sub-vendor-id",
    PCI_SUBSYSTEM_VENDOR_ID,
    0xffff,
    "subsystem vendor ID",
    trace.vfio_pci_emulated_sub_vendor_id,
  ],
  [
    "x-pci-sub-device-id",
    PCI_SUBSYSTEM_ID,
    0xffff,
    "subsystem device ID",
    trace.vfio_pci_emulated_sub_device_id,
  ],
] as const;

/**
 * Steps 10 of realize, on a shadow filled from the device.
 * @throws {ViaductError} PROPERTY, naming the ID
 */
export function overrideIds(
  config: ConfigSpace,
  properties: VfioPciProperties,
  multifunction: boolean,
): void {
  for (const [property, offset, max, what, point] of OVERRIDES) {
    const value = properties[property];
    if (value === ID_UNSET) continue;
    if (value > max) throw new ViaductError("PROPERTY", `invalid PCI ${what} provided`);
    emulateField(config, offset, 2, value);
    point.emit({ name: config.name, val: value });
  }
  const classCode = properties["x-pci-class-code"];
  if (classCode !== ID_UNSET) {
    if (classCode > 0xff_ffff) {
      throw new ViaductError("PROPERTY", "invalid PCI class code provided");
    }
    emulateField(config, PCI_CLASS_PROG, 1, classCode & 0xff);
    emulateField(config, PCI_CLASS_DEVICE, 2, classCode >>> 8);
  }
  const headerType = config.bytes[PCI_HEADER_TYPE]! & ~MULTIFUNCTION;
  config.write(PCI_HEADER_TYPE, 1, headerType | (multifunction ? MULTIFUNCTION : 0));
  config.emuMask[PCI_HEADER_TYPE]! |= MULTIFUNCTION;
}

export interface EffectiveIds {
  readonly vendor: number;
  readonly device: number;
  readonly isVga: boolean;
}

/** The IDs after overrides, from the shadow. */
export function effectiveIds(config: ConfigSpace): EffectiveIds {
  return {
    vendor: config.read(PCI_VENDOR_ID, 2),
    device: config.read(PCI_DEVICE_ID, 2),
    isVga: config.read(PCI_CLASS_DEVICE, 2) === CLASS_VGA,
  };
}
