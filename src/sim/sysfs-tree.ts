/**
 * The software host's sysfs: a real tree in a temporary folder, with the files and links that
 * programs read to find devices, groups and drivers.
 */

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import type { SoftwarePciDevice } from "./pci-device.ts";

export class SysfsTree implements Disposable {
  /** The folder that stands for `/`. */
  readonly root: string;

  constructor() {
    this.root = mkdtempSync(join(tmpdir(), "viaduct-sim-"));
    for (const folder of [
      "sys/bus/pci/devices",
      "sys/bus/mdev",
      "sys/kernel/iommu_groups",
      "proc",
    ]) {
      mkdirSync(join(this.root, folder), { recursive: true });
    }
  }

  /** Writes what `/sys` says of a device, and links it where it is looked for. */
  addDevice(device: SoftwarePciDevice): void {
    const { address, vendorId, deviceId, classCode = 0xff0000 } = device.spec;
    const sys = join(this.root, "sys");
    const folder = join(sys, `devices/pci${address.slice(0, 7)}/${address}`);
    mkdirSync(folder, { recursive: true });
    const hex = (value: number, width: number) => `0x${value.toString(16).padStart(width, "0")}\n`;
    const files = {
      vendor: hex(vendorId, 4),
      device: hex(deviceId, 4),
      subsystem_vendor: hex(device.spec.subsystemVendorId ?? 0x1af4, 4),
      subsystem_device: hex(device.spec.subsystemId ?? 0x1100, 4),
      class: hex(classCode, 6),
      revision: hex(device.spec.revision ?? 0, 2),
      config: device.config,
    };
    for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
    link(join(sys, "bus/pci/devices", address), folder);
    link(join(folder, "subsystem"), join(sys, "bus/pci"));
    const group = join(sys, `kernel/iommu_groups/${device.group.number}`);
    mkdirSync(join(group, "devices"), { recursive: true });
    link(join(folder, "iommu_group"), group);
    link(join(group, "devices", address), folder);
    this.setDriver(device);
  }

  /** Makes the driver link say what the device says. */
  setDriver(device: SoftwarePciDevice): void {
    const { address } = device.spec;
    const sys = join(this.root, "sys");
    const at = join(sys, `devices/pci${address.slice(0, 7)}/${address}/driver`);
    rmSync(at, { force: true });
    if (device.driver === undefined) return;
    const driver = join(sys, "bus/pci/drivers", device.driver);
    mkdirSync(driver, { recursive: true });
    link(at, driver);
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}

function link(at: string, target: string): void {
  symlinkSync(relative(join(at, ".."), target), at);
}
