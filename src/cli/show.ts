/**
 * `viaduct show`: everything about a device: what decides about assignment, and its configuration
 * space decoded as `lspci -vvv` prints it.
 */

import { describe, hex, interfaceText, subsystemText } from "../host/device-text.ts";
import { findDevices } from "../host/find-device.ts";
import type { Host } from "../host/host.ts";
import { vfioOpeners } from "../host/openers.ts";
import type { HostDevice } from "../host/pci-device.ts";
import { PciIds } from "../host/pci-ids.ts";
import { configText, type DecodedConfig, decodeConfig } from "../pci/decode.ts";
import { type CommandDefinition, JSON_OPTION } from "./command.ts";
import { EXIT } from "./exit-status.ts";
import { deviceJson } from "./host-view.ts";
import { assignmentLines, subsystemLines } from "./list.ts";
import { ROOT_OPTION } from "./open-tree.ts";
import { print, printJson } from "./output.ts";
import type { ParsedCommand } from "./parse-command.ts";

export const command: CommandDefinition = {
  name: "show",
  summary: "a device with its group, and its configuration space decoded",
  description: [
    `Prints what decides whether the device can be assigned, then its registers and capabilities in
    the words of "lspci -vvv". Reads configuration space from sysfs, which has no effect on the
    device. Without root the kernel shows only the first 64 bytes.`,
  ],
  operands: [
    {
      name: "DEVICE",
      about: "an address (01:00.0, 01:00 for all functions, pci_0000_01_00_0), interface or disk",
      repeatable: true,
      offers: "device",
    },
  ],
  options: [
    { flags: ["-x"], about: "a hexadecimal dump of configuration space too" },
    ROOT_OPTION,
    JSON_OPTION,
  ],
  examples: [
    { about: "all functions of a graphics card", line: "viaduct show 01:00" },
    { about: "the network card that carries eth1", line: "viaduct show eth1" },
    { about: "the decoded registers as JSON", line: "viaduct show 01:00.0 --json" },
  ],
};

export async function runOn(host: Host, parsed: ParsedCommand): Promise<number> {
  const devices = [...new Set(parsed.operands.flatMap((text) => findDevices(host, text)))];
  const ids = PciIds.system();
  const openers = vfioOpeners(host.tree);
  if (parsed.has("--json")) {
    printJson({
      devices: devices.map((device) => ({
        ...deviceJson(device, ids, openers),
        physicalSlot: host.physicalSlots.get(device.slot) ?? null,
        config: configJson(decodeDevice(device, ids)),
      })),
    });
    return EXIT.DONE;
  }
  const texts = devices.map((device) => {
    const slot = host.physicalSlots.get(device.slot);
    const about = [
      ...subsystemLines(device, ids, 2),
      ...(slot === undefined ? [] : [`Physical Slot: ${slot}`]),
      `Kernel driver in use: ${device.driver ?? "none"}`,
      ...assignmentLines(host, device, openers),
    ];
    const lines = [
      `${device.address} ${describe(device, ids, 2)}${interfaceText(device, ids)}`,
      ...about.map((line) => `\t${line}`),
    ];
    const decoded = decodeDevice(device, ids);
    lines.push(...(decoded === undefined ? [missingText(device)] : configText(decoded)));
    if (parsed.has("-x")) lines.push(...dumpLines(device));
    return lines.join("\n");
  });
  print(texts.join("\n\n"));
  return EXIT.DONE;
}

/** Undefined when configuration space could not be read. */
function decodeDevice(device: HostDevice, ids: PciIds): DecodedConfig | undefined {
  const bytes = device.config.value;
  if (bytes === undefined || bytes.length < 64) return undefined;
  const [slot, fn] = device.address.split(":").at(-1)!.split(".") as [string, string];
  const hasResources = device.text("resource") !== undefined;
  return decodeConfig(bytes, {
    devfn: Number.parseInt(slot, 16) * 8 + Number(fn),
    irq: device.irq,
    numaNode: device.numaNode,
    group: device.group,
    subsystemName: (vendor, id) => subsystemText(device, ids, { vendor, device: id }, 2),
    ...(hasResources ? { regions: device.resources } : {}),
  });
}

function missingText(device: HostDevice): string {
  const { missing } = device.config;
  const why = missing === "denied" ? "not permitted" : "not there, or shorter than a header";
  return `\tConfiguration space: could not be read (${why})`;
}

function configJson(decoded: DecodedConfig | undefined) {
  if (decoded === undefined) return null;
  const { headerLines: _text, capabilities, ...rest } = decoded;
  return {
    ...rest,
    capabilities: capabilities.map(({ lines, ...capability }) => ({
      ...capability,
      title: lines[0] ?? "",
    })),
  };
}

function dumpLines(device: HostDevice): string[] {
  const bytes = device.config.value ?? new Uint8Array();
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)].map((byte) => hex(byte, 2)).join(" ");
    lines.push(`${hex(at, 2)}: ${row}`);
  }
  return lines;
}
