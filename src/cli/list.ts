/**
 * `viaduct list`: the host's PCI devices with lspci's flags, and what lspci does not say: the IOMMU
 * group, its verdict, reset, who has it open.
 */

import { describe, type NumberStyle, subsystemText } from "../host/device-text.ts";
import { findDevices, idFilter, slotFilter } from "../host/find-device.ts";
import { type Host, verdictOf } from "../host/host.ts";
import { type Openers, openersOfDevice, vfioOpeners } from "../host/openers.ts";
import type { DeviceResource, HostDevice } from "../host/pci-device.ts";
import { PciIds } from "../host/pci-ids.ts";
import { isWithVfio } from "../host/viability.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { type CommandDefinition, JSON_OPTION } from "./command.ts";
import { treeText } from "./device-tree.ts";
import { EXIT } from "./exit-status.ts";
import { deviceJson, groupJson, resetText } from "./host-view.ts";
import { ROOT_OPTION } from "./open-tree.ts";
import { print, printJson } from "./output.ts";
import type { ParsedCommand } from "./parse-command.ts";

export const command: CommandDefinition = {
  name: "list",
  aliases: ["ls"],
  summary: "PCI devices with their IOMMU groups and drivers",
  description: [
    `Prints a line for each PCI device, as lspci does, and at its end the IOMMU group and the
    driver.`,
    `The flags mean what they mean to lspci. With -v it says everything that decides whether the
    device can be assigned: the group's verdict, reset methods, power state, NUMA node, SR-IOV role,
    BARs, and which process has the group open.`,
  ],
  operands: [
    {
      name: "DEVICE",
      about: "an address (01:00.0, 01:00 for all functions, pci_0000_01_00_0), interface or disk",
      optional: true,
      repeatable: true,
      offers: "device",
    },
  ],
  options: [
    {
      flags: ["-s"],
      value: "[[[[DOMAIN]:]BUS]:][SLOT][.[FUNC]]",
      about: "only devices at these addresses; a part left out, or *, matches all",
      offers: "device",
    },
    {
      flags: ["-d"],
      value: "[VENDOR]:[DEVICE][:CLASS]",
      about: "only devices with these ids, in hexadecimal",
    },
    {
      flags: ["-n"],
      about: "numbers instead of names; -nn: names and numbers",
      repeatable: true,
    },
    { flags: ["-k"], about: "the driver in use, on a line of its own" },
    { flags: ["-v"], about: "all that decides about assignment", repeatable: true },
    { flags: ["-t"], about: "a tree of buses, bridges and devices" },
    { flags: ["-D"], about: "accepted for lspci's sake: domains are always printed" },
    { flags: ["--group"], value: "N", about: "only devices of this IOMMU group", offers: "group" },
    ROOT_OPTION,
    JSON_OPTION,
  ],
  examples: [
    { about: "everything, with numbers and drivers, as people post it", line: "viaduct list -nnk" },
    { about: "graphics cards only", line: "viaduct list -d ::0300 -v" },
    { about: "what shares group 14", line: "viaduct list --group 14" },
  ],
};

export async function runOn(host: Host, parsed: ParsedCommand): Promise<number> {
  const devices = select(host, parsed.operands, {
    slot: parsed.value("-s"),
    id: parsed.value("-d"),
    group: parsed.value("--group"),
  });
  const ids = PciIds.system();
  const style = Math.min(parsed.count("-n"), 2) as NumberStyle;
  const verbose = parsed.count("-v") > 0;
  if (parsed.has("--json")) {
    const openers = vfioOpeners(host.tree);
    const groups = [...host.groups.values()].filter((group) =>
      group.devices.some((device) => devices.includes(device)),
    );
    printJson({
      devices: devices.map((device) => deviceJson(device, ids, openers)),
      groups: groups.map(groupJson),
    });
  } else if (parsed.has("-t")) {
    print(treeText(host, devices, ids, style));
  } else {
    const openers = verbose ? vfioOpeners(host.tree) : undefined;
    const lines = devices.map((device) =>
      deviceLines(host, device, ids, { style, verbose, drivers: parsed.has("-k"), openers }),
    );
    print(lines.join(verbose ? "\n\n" : "\n"));
  }
  return EXIT.DONE;
}

function select(
  host: Host,
  operands: readonly string[],
  filters: { slot: string | undefined; id: string | undefined; group: string | undefined },
): HostDevice[] {
  let devices: readonly HostDevice[] = host.devices;
  if (operands.length > 0) {
    const wanted = new Set(operands.flatMap((text) => findDevices(host, text)));
    devices = devices.filter((device) => wanted.has(device));
  }
  for (const [text, make] of [
    [filters.slot, slotFilter],
    [filters.id, idFilter],
  ] as const) {
    if (text === undefined) continue;
    const accepts = make(text);
    if (accepts === undefined) {
      throw new ViaductError("USAGE", `${text}: not a filter that lspci would know`, {
        nextStep: "See viaduct list --help.",
      });
    }
    devices = devices.filter(accepts);
  }
  if (filters.group !== undefined) {
    const number = Number(filters.group);
    if (!host.groups.has(number)) {
      throw new ViaductError("DEVICE_NOT_FOUND", `no IOMMU group ${filters.group}`, {
        nextStep: "`viaduct groups` shows all groups.",
      });
    }
    devices = devices.filter((device) => device.group === number);
  }
  return [...devices];
}

interface LineStyle {
  readonly style: NumberStyle;
  readonly verbose: boolean;
  readonly drivers: boolean;
  readonly openers: Openers | undefined;
}

function deviceLines(host: Host, device: HostDevice, ids: PciIds, how: LineStyle): string {
  const head = `${device.address} ${describe(device, ids, how.style)}`;
  if (!how.verbose && !how.drivers) return `${head}  [${placeText(device)}]`;
  const lines = [head];
  if (how.verbose) {
    lines.push(...subsystemLines(device, ids, how.style));
    lines.push(...assignmentLines(host, device, how.openers));
    lines.push(...device.resources.filter(({ index }) => index <= 6).map(resourceLine));
  }
  lines.push(`Kernel driver in use: ${device.driver ?? "none"}`);
  return lines.join("\n\t");
}

function placeText(device: HostDevice): string {
  const group = device.group === undefined ? "no group" : `group ${device.group}`;
  return `${group}, ${device.driver ?? "no driver"}`;
}

/** Empty for a device that says nothing of its board. */
export function subsystemLines(device: HostDevice, ids: PciIds, style: NumberStyle): string[] {
  const { subsystemVendor, subsystemDevice } = device;
  if (subsystemVendor === 0 || subsystemVendor === 0xffff) return [];
  const subsystem = { vendor: subsystemVendor, device: subsystemDevice };
  return [`Subsystem: ${subsystemText(device, ids, subsystem, style)}`];
}

/** What decides whether the device can be assigned. */
export function assignmentLines(
  host: Host,
  device: HostDevice,
  openers: Openers | undefined,
): string[] {
  const lines: string[] = [];
  const group = device.group === undefined ? undefined : host.groups.get(device.group);
  if (group === undefined) {
    lines.push("IOMMU group: none (see viaduct doctor)");
  } else {
    const members = group.devices.filter((member) => member !== device);
    const others =
      members.length === 0
        ? "alone"
        : `with ${members.map((member) => `${member.address} (${member.driver ?? "no driver"})`).join(", ")}`;
    lines.push(`IOMMU group: ${group.number}, ${others}: ${verdictOf(group)}`);
  }
  if (device.override !== undefined) lines.push(`Driver override: ${device.override}`);
  lines.push(`Reset: ${resetText(device)}`);
  if (device.powerState !== undefined) lines.push(`Power state: ${device.powerState}`);
  if (device.numaNode !== undefined) lines.push(`NUMA node: ${device.numaNode}`);
  const { sriov } = device;
  if (sriov?.role === "pf") {
    lines.push(`SR-IOV: physical function, ${sriov.numVfs} of ${sriov.totalVfs} VFs`);
  } else if (sriov !== undefined) {
    lines.push(`SR-IOV: virtual function of ${sriov.relatives[0]}`);
  }
  if (device.interfaces.length > 0) lines.push(`Network: ${device.interfaces.join(", ")}`);
  lines.push(...openerLines(device, openers));
  return lines;
}

function openerLines(device: HostDevice, openers: Openers | undefined): string[] {
  if (openers === undefined) return [];
  const found = openersOfDevice(openers, device);
  if (found.length === 0 && openers.hidden > 0 && isWithVfio(device)) {
    return ["In use by: not visible without root"];
  }
  return found.map(({ name, pid, node }) => `In use by: ${name} (pid ${pid}), ${node}`);
}

function resourceLine(resource: DeviceResource): string {
  const name = resource.index === 6 ? "ROM" : `BAR ${resource.index}`;
  const kind =
    resource.kind === "io" ? "I/O ports" : `memory, ${resource.kind === "mem64" ? 64 : 32}-bit`;
  const prefetch = resource.prefetchable ? ", prefetchable" : "";
  const at = resource.unassigned ? "no address assigned" : `at 0x${resource.start.toString(16)}`;
  return `${name}: ${kind}${prefetch}, ${sizeText(resource.size)}, ${at}`;
}

/** lspci's sizes: 256, 4K, 16M, 8G. */
export function sizeText(size: bigint): string {
  const suffixes = ["", "K", "M", "G", "T"];
  let value = size;
  let step = 0;
  while (value >= 1024n && value % 1024n === 0n && step < suffixes.length - 1) {
    value /= 1024n;
    step++;
  }
  return `${value}${suffixes[step]}`;
}
