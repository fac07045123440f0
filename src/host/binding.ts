/**
 * Binding a device to a driver and putting it back: `driver_override`, unbind, probe. Never
 * `new_id`, which goes by model and takes the twin of a device along.
 */

import { ViaductError } from "../sys/sys-error.ts";
import type { Change } from "./changes.ts";
import { usesOf } from "./criticality.ts";
import { variantAlias } from "./findings/virtual.ts";
import type { Host } from "./host.ts";
import type { JournalEntry } from "./journal.ts";
import { openersOfDevice, vfioOpeners } from "./openers.ts";
import type { HostDevice } from "./pci-device.ts";

const DRIVERS = "/sys/bus/pci/drivers";
const RULES = "/etc/udev/rules.d";

/**
 * The VFIO driver for a device: the variant that this kernel has for it, else `vfio-pci`.
 */
export function vfioDriverFor(host: Host, device: HostDevice): string {
  const release = host.tree.text("/proc/sys/kernel/osrelease") ?? "";
  const aliases = host.tree.text(`/lib/modules/${release}/modules.alias`) ?? "";
  const line = variantAlias(aliases, device.vendor, device.device);
  return line?.trim().split(/\s+/).at(-1) ?? "vfio-pci";
}

/** The name under which a loaded driver is registered: modules say `_` where drivers say `-`. */
function registeredName(host: Host, driver: string): string | undefined {
  const plain = (name: string) => name.replaceAll("-", "_");
  return host.tree.names(DRIVERS).find((name) => plain(name) === plain(driver));
}

/** The changes that give `device` to `driver`. Empty when it has it. */
export function planBind(
  host: Host,
  device: HostDevice,
  driver: string,
  options: { persist: boolean },
): Change[] {
  const { address, path } = device;
  const name = registeredName(host, driver) ?? driver;
  const changes: Change[] = [];
  if (registeredName(host, driver) === undefined) {
    changes.push({ kind: "modprobe", module: driver });
  }
  if (device.override !== name) {
    changes.push({ kind: "write", path: `${path}/driver_override`, value: name });
  }
  if (device.driver !== name) {
    if (device.driver !== undefined) {
      const at = `${DRIVERS}/${device.driver}/unbind`;
      changes.push({ kind: "write", path: at, value: address });
    }
    changes.push({ kind: "write", path: "/sys/bus/pci/drivers_probe", value: address });
  }
  if (options.persist) {
    const value = `ACTION=="add", SUBSYSTEM=="pci", KERNEL=="${address}", ATTR{driver_override}="${name}"\n`;
    changes.push({ kind: "create", path: rulePath(address), value });
  }
  return changes;
}

export function rulePath(address: string): string {
  return `${RULES}/79-viaduct-${address}.rules`;
}

/** The changes that put a device back to what the journal says; without an entry, to its own. */
export function planRestore(
  host: Host,
  device: HostDevice,
  entry: JournalEntry | undefined,
  boot: string,
): Change[] {
  const { address, path } = device;
  const changes: Change[] = [];
  if (entry?.rule !== undefined) changes.push({ kind: "remove", path: entry.rule });
  // After a restart of the host sysfs is as the boot made it.
  if (entry !== undefined && entry.boot !== boot) return changes;
  if (entry?.vfs !== undefined) changes.push(...planVfs(device, entry.vfs));
  const wasDriver = entry?.driver ?? undefined;
  const wasOverride = entry?.override ?? "";
  if ((device.override ?? "") !== wasOverride) {
    changes.push({ kind: "write", path: `${path}/driver_override`, value: wasOverride });
  }
  if (entry !== undefined && device.driver === wasDriver) return changes;
  if (device.driver !== undefined) {
    changes.push({ kind: "write", path: `${DRIVERS}/${device.driver}/unbind`, value: address });
  }
  if (entry === undefined) {
    changes.push({ kind: "write", path: "/sys/bus/pci/drivers_probe", value: address });
  } else if (wasDriver !== undefined) {
    const known = host.tree.has(`${DRIVERS}/${wasDriver}`);
    if (!known) changes.push({ kind: "modprobe", module: wasDriver });
    changes.push({ kind: "write", path: `${DRIVERS}/${wasDriver}/bind`, value: address });
  }
  return changes;
}

/** The changes that make a PF have `count` VFs; the kernel takes a number only after 0. */
export function planVfs(device: HostDevice, count: number): Change[] {
  const path = `${device.path}/sriov_numvfs`;
  const now = device.sriov?.numVfs ?? 0;
  if (now === count) return [];
  const changes: Change[] = [];
  if (now !== 0) changes.push({ kind: "write", path, value: "0" });
  if (count !== 0) changes.push({ kind: "write", path, value: String(count) });
  return changes;
}

/**
 * Of the list that `reset_method` shows, what it takes when it is written back: the kernel refuses
 * the bus, and the whole list with it, once other functions are on the bus.
 */
export function acceptedResetMethods(host: Host, device: HostDevice): string[] {
  const bus = device.address.slice(0, device.address.lastIndexOf(":") + 1);
  const isAlone = !host.devices.some((other) => other !== device && other.address.startsWith(bus));
  return (device.resetMethods ?? []).filter((name) => name !== "bus" || isAlone);
}

/** What the journal keeps of a device as it is now. */
export function entryFor(host: Host, device: HostDevice): JournalEntry {
  return {
    address: device.address,
    boot: bootOf(host),
    driver: device.driver ?? null,
    override: device.override ?? null,
  };
}

/** Names this run of the host's kernel. */
export function bootOf(host: Host): string {
  return host.tree.text("/proc/sys/kernel/random/boot_id") ?? "";
}

/**
 * Refuses what the host needs or somebody uses.
 * @throws {ViaductError} DEVICE_BUSY, naming the device and each use
 */
export function checkFree(host: Host, devices: readonly HostDevice[]): void {
  const reasons: string[] = [];
  const open = vfioOpeners(host.tree);
  for (const device of devices) {
    for (const use of usesOf(host, device)) reasons.push(`${device.address} ${use.what}`);
    for (const { node, name, pid } of openersOfDevice(open, device)) {
      reasons.push(`${device.address}: ${node} is open in ${name} (pid ${pid})`);
    }
  }
  if (reasons.length === 0) return;
  throw new ViaductError("DEVICE_BUSY", `refused: ${reasons.join("; ")}`, {
    nextStep: "Choose another device, end that use, or add --force (the host may lose it).",
  });
}
