/**
 * `viaduct restore`: puts devices back to the driver that they had before `bind`.
 */

import { bootOf, checkFree, planRestore } from "../host/binding.ts";
import { findDevices } from "../host/find-device.ts";
import type { Host } from "../host/host.ts";
import type { HostDevice } from "../host/pci-device.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { carryOut, checkChangeable, DRY_RUN, FORCE, journal } from "./change-verb.ts";
import { type CommandDefinition, JSON_OPTION } from "./command.ts";
import { EXIT } from "./exit-status.ts";
import { ROOT_OPTION } from "./open-tree.ts";
import type { ParsedCommand } from "./parse-command.ts";

export const command: CommandDefinition = {
  name: "restore",
  aliases: ["reattach"],
  summary: "put devices back to the driver they had",
  description: [
    `Undoes what the journal says was done: driver, driver_override, number of VFs, udev rule. Also
    after a crash half way. A device that the journal does not know gets its override cleared and is
    probed again.`,
  ],
  operands: [
    {
      name: "DEVICE",
      about: "an address (01:00 for all functions), interface or disk",
      optional: true,
      repeatable: true,
      offers: "device",
    },
  ],
  options: [
    { flags: ["--all"], about: "everything in the journal" },
    FORCE,
    DRY_RUN,
    ROOT_OPTION,
    JSON_OPTION,
  ],
  examples: [
    { about: "a graphics card", line: "viaduct restore 01:00" },
    { about: "the host as it was", line: "viaduct restore --all" },
  ],
};

export async function runOn(host: Host, parsed: ParsedCommand): Promise<number> {
  checkChangeable(host, parsed);
  if (parsed.has("--all") === parsed.operands.length > 0) {
    throw new ViaductError("USAGE", "name devices, or --all", {
      nextStep: "See viaduct restore --help.",
    });
  }
  const entries = journal().entries();
  const devices = new Set<HostDevice>(parsed.operands.flatMap((text) => findDevices(host, text)));
  const gone: string[] = [];
  if (parsed.has("--all")) {
    // Last changed, first put back: a VF goes before its PF.
    for (const address of [...entries.keys()].reverse()) {
      const device = host.device(address);
      if (device === undefined) gone.push(address);
      else devices.add(device);
    }
  }
  if (!parsed.has("--force")) checkFree(host, [...devices]);
  const boot = bootOf(host);
  const changes = [...devices].flatMap((device) =>
    planRestore(host, device, entries.get(device.address), boot),
  );
  await carryOut(parsed, changes, () => undefined);
  if (gone.length > 0) process.stderr.write(`Not there any more: ${gone.join(", ")}\n`);
  if (!parsed.has("--dry-run") && entries.size > 0) {
    journal().forget(new Set([...gone, ...[...devices].map((device) => device.address)]));
  }
  return EXIT.DONE;
}
