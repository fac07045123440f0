/**
 * `viaduct overrides`: which devices have a driver_override, and taking one away.
 */

import { rulePath } from "../host/binding.ts";
import type { Change } from "../host/changes.ts";
import { describe } from "../host/device-text.ts";
import { findDevices } from "../host/find-device.ts";
import { Host } from "../host/host.ts";
import { PciIds } from "../host/pci-ids.ts";
import { carryOut, DRY_RUN, openHost } from "./change-verb.ts";
import { type CommandDefinition, JSON_OPTION, parseCommand, usage } from "./command.ts";
import { EXIT } from "./exit-status.ts";
import { helpText } from "./help-text.ts";
import { openTree, ROOT_OPTION } from "./host-view.ts";
import { print, printJson } from "./output.ts";

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

export async function run(args: readonly string[]): Promise<number> {
  const parsed = parseCommand(command, args);
  if (parsed.has("--help")) {
    print(helpText(command));
    return EXIT.DONE;
  }
  const [verb = "list", ...names] = parsed.operands;
  if (verb === "list") {
    const host = Host.scan(await openTree(parsed));
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
  const host = await openHost(parsed);
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
  carryOut(parsed, changes, () => undefined);
  return EXIT.DONE;
}
