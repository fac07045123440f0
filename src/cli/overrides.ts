/**
 * `viaduct overrides`: which devices have a driver_override, and taking one away.
 */

import { rulePath } from "../host/binding.ts";
import type { Change } from "../host/changes.ts";
import { describe } from "../host/device-text.ts";
import { findDevices } from "../host/find-device.ts";
import type { Host } from "../host/host.ts";
import { PciIds } from "../host/pci-ids.ts";
import { carryOut, checkChangeable, DRY_RUN } from "./change-verb.ts";
import { type CommandDefinition, JSON_OPTION } from "./command.ts";
import { EXIT } from "./exit-status.ts";
import { ROOT_OPTION } from "./open-tree.ts";
import { print, printJson } from "./output.ts";
import { type ParsedCommand, usage } from "./parse-command.ts";

export const command: CommandDefinition = {
  name: "overrides",
  summary: "list driver overrides, or take them away",
  description: [
    `Without an argument, or with "list", prints the devices that have a driver_override, as
    driverctl does. "rm DEVICE" clears it and removes our udev rule; the driver that has the device
    keeps it.`,
  ],
  operands: [
    { name: "list|rm", about: "what to do", optional: true, offers: ["list", "rm"] },
    { name: "DEVICE", about: "with rm", optional: true, repeatable: true, offers: "device" },
  ],
  options: [DRY_RUN, ROOT_OPTION, JSON_OPTION],
  examples: [
    { about: "which devices are set aside", line: "viaduct overrides" },
    { about: "clear one", line: "viaduct overrides rm 01:00.0" },
  ],
};

export async function runOn(host: Host, parsed: ParsedCommand): Promise<number> {
  const [verb = "list", ...names] = parsed.operands;
  if (verb === "list") {
    const devices = host.devices.filter((device) => device.override !== undefined);
    const ids = PciIds.system();
    if (parsed.has("--json")) {
      const rows = devices.map(({ address, override, driver }) => ({
        address,
        override: override ?? null,
        driver: driver ?? null,
        isPersistent: host.tree.has(rulePath(address)),
      }));
      printJson({ overrides: rows });
    } else {
      const line = (device: (typeof devices)[number]) =>
        `${device.address} ${device.override} (${describe(device, ids, 2)})`;
      print(devices.map(line).join("\n"));
    }
    return EXIT.DONE;
  }
  if (verb !== "rm" || names.length === 0) throw usage(command, "say list, or rm DEVICE");
  checkChangeable(host, parsed);
  const changes = names
    .flatMap((text) => findDevices(host, text))
    .flatMap((device): Change[] => [
      ...(device.override === undefined
        ? []
        : [{ kind: "write" as const, path: `${device.path}/driver_override`, value: "" }]),
      ...(host.tree.has(rulePath(device.address))
        ? [{ kind: "remove" as const, path: rulePath(device.address) }]
        : []),
    ]);
  await carryOut(parsed, changes, () => undefined);
  return EXIT.DONE;
}
