/**
 * `viaduct reset`: resets a device through sysfs, by the kernel's choice or by a method named.
 */

import { acceptedResetMethods, checkFree } from "../host/binding.ts";
import type { Change } from "../host/changes.ts";
import { findDevice } from "../host/find-device.ts";
import type { Host } from "../host/host.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { carryOut, checkChangeable, DRY_RUN, FORCE } from "./change-verb.ts";
import { type CommandDefinition, JSON_OPTION } from "./command.ts";
import { EXIT } from "./exit-status.ts";
import { ROOT_OPTION } from "./open-tree.ts";
import type { ParsedCommand } from "./parse-command.ts";

export const command: CommandDefinition = {
  name: "reset",
  summary: "reset a device",
  description: [
    `Writes sysfs "reset". With --method only that one is tried, and the kernel's list is put back
    afterwards; with --keep the list stays and nothing is reset.`,
  ],
  operands: [{ name: "DEVICE", about: "an address, interface or disk", offers: "device" }],
  options: [
    {
      flags: ["--method"],
      value: "METHOD",
      about: "flr, bus, pm, acpi, device_specific or cxl_bus",
      offers: ["flr", "af_flr", "bus", "pm", "acpi", "device_specific", "cxl_bus"],
    },
    { flags: ["--keep"], about: "with --method: make it the only one from now on, reset nothing" },
    FORCE,
    DRY_RUN,
    ROOT_OPTION,
    JSON_OPTION,
  ],
  examples: [
    { about: "by the kernel's choice", line: "viaduct reset 01:00.0" },
    { about: "by its function-level reset alone", line: "viaduct reset 01:00.0 --method flr" },
  ],
};

export async function runOn(host: Host, parsed: ParsedCommand): Promise<number> {
  checkChangeable(host, parsed);
  const device = findDevice(host, parsed.operands[0]!);
  const method = parsed.value("--method");
  const known = device.resetMethods ?? [];
  if (device.hasReset === false) {
    throw new ViaductError("RESET_FAILED", `${device.address}: no available reset mechanism`, {
      nextStep: "viaduct explain NO_RESET",
    });
  }
  if (method !== undefined && !known.includes(method)) {
    throw new ViaductError("RESET_FAILED", `${device.address}: cannot be reset by ${method}`, {
      nextStep: `It has: ${known.join(", ") || "no list of methods"}`,
    });
  }
  if (!parsed.has("--force")) checkFree(host, [device]);
  const list = `${device.path}/reset_method`;
  const reset: Change = { kind: "write", path: `${device.path}/reset`, value: "1" };
  const choose = (value: string): Change => ({ kind: "write", path: list, value });
  if (method === undefined) await carryOut(parsed, [reset], () => undefined);
  else if (parsed.has("--keep")) await carryOut(parsed, [choose(method)], () => undefined);
  else {
    const back = acceptedResetMethods(host, device).join(" ");
    await carryOut(parsed, [choose(method), reset], () => undefined, [choose(back)]);
  }
  return EXIT.DONE;
}
