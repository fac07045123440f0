/**
 * `viaduct groups`: every IOMMU group, its members, their drivers and resets, and whether VFIO
 * would take it.
 */

import { describe } from "../host/device-text.ts";
import { findDevices } from "../host/find-device.ts";
import { type Host, type HostGroup, verdictOf } from "../host/host.ts";
import type { HostDevice } from "../host/pci-device.ts";
import { PciIds } from "../host/pci-ids.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { type CommandDefinition, JSON_OPTION } from "./command.ts";
import { EXIT } from "./exit-status.ts";
import { deviceJson, groupJson, resetText } from "./host-view.ts";
import { ROOT_OPTION } from "./open-tree.ts";
import { print, printJson, tint } from "./output.ts";
import type { ParsedCommand } from "./parse-command.ts";

export const command: CommandDefinition = {
  name: "groups",
  summary: "IOMMU groups, and whether VFIO would take them",
  description: [
    `Prints each IOMMU group with its devices. A group is assigned as a whole: "viable" means that
    VFIO takes it now, "unbound" that nothing is in the way but no member has a VFIO driver, "in
    use" that a member is with a host driver.`,
    "Bridges on pcieport are harmless and are not counted.",
  ],
  operands: [
    {
      name: "GROUP|DEVICE",
      about: "only this group, or the group of this device",
      optional: true,
      repeatable: true,
      offers: "group",
    },
  ],
  options: [
    {
      flags: ["--paste"],
      about: "one line a device in the shape that forums know: IOMMU Group N ADDRESS ... [ids]",
    },
    ROOT_OPTION,
    JSON_OPTION,
  ],
  examples: [
    { about: "all groups with verdicts", line: "viaduct groups" },
    { about: "for a forum post", line: "viaduct groups --paste" },
    { about: "what comes along with a graphics card", line: "viaduct groups 01:00.0" },
  ],
};

export async function runOn(host: Host, parsed: ParsedCommand): Promise<number> {
  const groups = select(host, parsed.operands);
  const ids = PciIds.system();
  if (parsed.has("--json")) {
    const devices = groups.flatMap((group) => group.devices);
    printJson({
      groups: groups.map(groupJson),
      devices: devices.map((device) => deviceJson(device, ids, undefined)),
    });
    return EXIT.DONE;
  }
  if (groups.length === 0) {
    throw new ViaductError("NO_IOMMU_GROUP", `${host.tree.name}: no IOMMU groups`, {
      nextStep: "`viaduct doctor` finds out why.",
    });
  }
  const lines = parsed.has("--paste") ? pasteLines : groupLines;
  print(groups.flatMap((group) => lines(group, ids)).join("\n"));
  return EXIT.DONE;
}

function select(host: Host, operands: readonly string[]): HostGroup[] {
  if (operands.length === 0) return [...host.groups.values()];
  const numbers = new Set<number>();
  for (const text of operands) {
    const number = Number(text);
    if (/^\d+$/.test(text) && host.groups.has(number)) {
      numbers.add(number);
      continue;
    }
    if (/^\d+$/.test(text)) {
      throw new ViaductError("DEVICE_NOT_FOUND", `no IOMMU group ${text} on ${host.tree.name}`);
    }
    for (const device of findDevices(host, text)) {
      if (device.group === undefined) {
        throw new ViaductError("NO_IOMMU_GROUP", `${device.address}: in no IOMMU group`, {
          nextStep: "`viaduct doctor` finds out why.",
        });
      }
      numbers.add(device.group);
    }
  }
  return [...numbers].sort((a, b) => a - b).map((number) => host.groups.get(number)!);
}

function groupLines(group: HostGroup, ids: PciIds): string[] {
  const verdict = verdictOf(group);
  const blockers = group.blockers;
  const tone = verdict === "viable" ? "good" : verdict === "unbound" ? "quiet" : "warn";
  const why =
    blockers.length === 0
      ? ""
      : ` (${blockers.map(({ name, driver }) => `${name} on ${driver}`).join(", ")})`;
  return [
    `IOMMU group ${group.number}: ${tint(verdict, tone)}${why}`,
    ...group.devices.map(
      (device) =>
        `  ${device.address} ${describe(device, ids, 2)}  driver: ${device.driver ?? "none"}  reset: ${resetText(device)}`,
    ),
  ];
}

function pasteLines(group: HostGroup, ids: PciIds): string[] {
  return group.devices.map((device) => pasteLine(group, device, ids));
}

function pasteLine(group: HostGroup, device: HostDevice, ids: PciIds): string {
  const reset = device.hasReset === true ? " [RESET]" : "";
  const driver = device.driver === undefined ? "" : ` (${device.driver})`;
  return `IOMMU Group ${group.number} ${device.address} ${describe(device, ids, 2)}${driver}${reset}`;
}
