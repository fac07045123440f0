/**
 * `viaduct bind`: gives devices to a VFIO driver.
 */

import { checkFree, entryFor, planBind, rulePath, vfioDriverFor } from "../host/binding.ts";
import { findDevices } from "../host/find-device.ts";
import { Host } from "../host/host.ts";
import type { HostDevice } from "../host/pci-device.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { carryOut, checkChangeable, DRY_RUN, FORCE, journal } from "./change-verb.ts";
import { type CommandDefinition, JSON_OPTION } from "./command.ts";
import { EXIT } from "./exit-status.ts";
import { ROOT_OPTION } from "./open-tree.ts";
import { type ParsedCommand, usage } from "./parse-command.ts";

export const command: CommandDefinition = {
  name: "bind",
  aliases: ["detach"],
  summary: "give devices to a VFIO driver",
  description: [
    `Writes driver_override, unbinds and probes: this device and no other of its model. What was
    before is written to a journal first, so that "viaduct restore" puts it back.`,
    `Refuses a device that carries the default route, a mounted or swap disk or the only console,
    and one that a process has open, unless --force is given.`,
  ],
  operands: [
    {
      name: "DEVICE",
      about: "an address (01:00 for all functions), interface or disk",
      repeatable: true,
      offers: "device",
    },
  ],
  options: [
    {
      flags: ["--driver"],
      value: "NAME",
      about:
        "the driver (default vfio-pci); auto: the variant that can migrate, where there is one",
      offers: "driver",
    },
    { flags: ["--group"], about: "all devices of their IOMMU groups; bridges stay" },
    { flags: ["--persist"], about: "after the next start too, by a udev rule" },
    { flags: ["--nosave"], about: "until the next start (the default)" },
    FORCE,
    DRY_RUN,
    ROOT_OPTION,
    JSON_OPTION,
  ],
  examples: [
    { about: "see what would be written", line: "viaduct bind 01:00 --dry-run" },
    { about: "a graphics card with all of its group", line: "viaduct bind --group 01:00.0" },
    { about: "put it back", line: "viaduct restore 01:00" },
  ],
};

export async function runOn(host: Host, parsed: ParsedCommand): Promise<number> {
  checkChangeable(host, parsed);
  const named = [...new Set(parsed.operands.flatMap((text) => findDevices(host, text)))];
  const devices = parsed.has("--group") ? wholeGroups(host, named) : named;
  for (const device of devices) checkAssignable(device);
  if (!parsed.has("--force")) checkFree(host, devices);
  if (devices.length > named.length) {
    const added = devices.filter((device) => !named.includes(device));
    process.stderr.write(
      `With their group: ${added.map((one) => `${one.address} (${one.driver ?? "no driver"})`).join(", ")}\n`,
    );
  }
  const wanted = parsed.value("--driver") ?? "vfio-pci";
  const persist = parsed.has("--persist");
  if (persist && parsed.has("--nosave")) {
    throw usage(command, "--persist and --nosave say the opposite of each other");
  }
  const changes = devices.flatMap((device) => {
    const driver = wanted === "auto" ? vfioDriverFor(host, device) : wanted;
    return planBind(host, device, driver, { persist });
  });
  const unique = changes.filter(
    (change, at) =>
      change.kind !== "modprobe" ||
      changes.findIndex((one) => one.kind === "modprobe" && one.module === change.module) === at,
  );
  await carryOut(parsed, unique, () => {
    const book = journal();
    for (const device of devices) {
      const entry = entryFor(host, device);
      book.record(persist ? { ...entry, rule: rulePath(device.address) } : entry);
    }
  });
  if (parsed.has("--dry-run")) return EXIT.DONE;
  return verify(host, devices, wanted);
}

function wholeGroups(host: Host, named: readonly HostDevice[]): HostDevice[] {
  const all = new Set<HostDevice>(named);
  for (const device of named) {
    for (const member of host.companions(device)) if (!member.isBridge) all.add(member);
  }
  return [...all];
}

function checkAssignable(device: HostDevice): void {
  if (device.isBridge) {
    throw new ViaductError("DEVICE_UNSUPPORTED", `${device.address}: a bridge is not assigned`, {
      nextStep: "Name the devices below it; a bridge on pcieport does not disturb them.",
    });
  }
  if (device.group === undefined) {
    throw new ViaductError("NO_IOMMU_GROUP", `${device.address}: in no IOMMU group`, {
      nextStep: "`viaduct doctor` finds out why.",
    });
  }
}

/** Reads the host again: did the driver take the devices, and are the groups whole? */
function verify(before: Host, devices: readonly HostDevice[], wanted: string): number {
  const host = Host.scan(before.tree);
  const driver = wanted === "auto" ? "vfio" : wanted.replaceAll("_", "-");
  for (const device of devices) {
    const now = host.device(device.address);
    if ((now?.driver ?? "").replaceAll("_", "-").includes(driver)) continue;
    throw new ViaductError(
      "DEVICE_NOT_BOUND",
      `${device.address}: is with ${now?.driver ?? "no driver"} after the probe, not ${wanted}`,
      { nextStep: `viaduct doctor ${device.address}; viaduct restore ${device.address}` },
    );
  }
  for (const number of new Set(devices.map((device) => device.group))) {
    const group = number === undefined ? undefined : host.groups.get(number);
    const blockers = group?.blockers ?? [];
    if (blockers.length === 0) continue;
    process.stderr.write(
      `WARN  group ${number} is not viable yet: ${blockers.map((one) => `${one.name} (${one.driver})`).join(", ")}. Add --group.\n`,
    );
  }
  return EXIT.DONE;
}
