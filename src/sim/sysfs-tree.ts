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
      "sys/bus/mdev/devices",
      "sys/kernel/iommu_groups",
      "proc",
    ]) {
      mkdirSync(join(this.root, folder), { recursive: true });
    }
  }

  /** Writes what `/sys` says of a device, and links it where it is looked for. */
  addDevice(device: SoftwarePciDevice): void {
    const { name } = device;
    const sys = join(this.root, "sys");
    const bus = join(sys, "bus", busOf(device));
    const folder = this.#folder(device);
    mkdirSync(folder, { recursive: true });
    if (device.spec.mediated === undefined) writeIdentity(folder, device);
    link(join(bus, "devices", name), folder);
    link(join(folder, "subsystem"), bus);
    const group = join(sys, `kernel/iommu_groups/${device.group.number}`);
    mkdirSync(join(group, "devices"), { recursive: true });
    link(join(folder, "iommu_group"), group);
    link(join(group, "devices", name), folder);
    this.setDriver(device);
  }

  /** Makes the driver link say what the device says. */
  setDriver(device: SoftwarePciDevice): void {
    const at = join(this.#folder(device), "driver");
    rmSync(at, { force: true });
    if (device.driver === undefined) return;
    const driver = join(this.root, "sys/bus", busOf(device), "drivers", device.driver);
    mkdirSync(driver, { recursive: true });
    link(at, driver);
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true });
  }

  /** A mediated device lies below its parent. */
  #folder({ spec }: SoftwarePciDevice): string {
    const { address, mediated } = spec;
    const parent = join(this.root, "sys/devices", `pci${address.slice(0, 7)}`, address);
    return mediated === undefined ? parent : join(parent, mediated);
  }
}

const busOf = ({ spec }: SoftwarePciDevice): "pci" | "mdev" =>
  spec.mediated === undefined ? "pci" : "mdev";

/** The files by which a PCI device is known. */
function writeIdentity(folder: string, { spec, config }: SoftwarePciDevice): void {
  const hex = (value: number, width: number) => `0x${value.toString(16).padStart(width, "0")}\n`;
  const files = {
    vendor: hex(spec.vendorId, 4),
    device: hex(spec.deviceId, 4),
    subsystem_vendor: hex(spec.subsystemVendorId ?? 0x1af4, 4),
    subsystem_device: hex(spec.subsystemId ?? 0x1100, 4),
    class: hex(spec.classCode ?? 0xff0000, 6),
    revision: hex(spec.revision ?? 0, 2),
    config,
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
}

function link(at: string, target: string): void {
  symlinkSync(relative(join(at, ".."), target), at);
}
