/**
 * `viaduct sriov`: the virtual functions of a physical one.
 */

import { checkFree, entryFor, planVfs } from "../host/binding.ts";
import { findDevice } from "../host/find-device.ts";
import type { Host } from "../host/host.ts";
import type { HostDevice } from "../host/pci-device.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { carryOut, checkChangeable, DRY_RUN, FORCE, journal } from "./change-verb.ts";
import { type CommandDefinition, JSON_OPTION } from "./command.ts";
import { EXIT } from "./exit-status.ts";
import { ROOT_OPTION } from "./open-tree.ts";
import { print, printJson } from "./output.ts";
import { type ParsedCommand, usage } from "./parse-command.ts";

export const command: CommandDefinition = {
  name: "sriov",
  summary: "show or set the number of virtual functions",
  description: [
    `Without --num prints the VFs with their groups and drivers. With it writes sriov_numvfs, by way
    of 0 as the kernel demands.`,
  ],
  operands: [{ name: "PF", about: "the physical function", offers: "device" }],
  options: [
    { flags: ["--num"], value: "N", about: "make N virtual functions; 0 removes them" },
    FORCE,
    DRY_RUN,
    ROOT_OPTION,
    JSON_OPTION,
  ],
  examples: [
    { about: "four VFs of a network card", line: "viaduct sriov eth1 --num 4" },
    { about: "what it has", line: "viaduct sriov 02:00.0" },
  ],
};

export async function runOn(host: Host, parsed: ParsedCommand): Promise<number> {
  const number = parsed.value("--num");
  if (number !== undefined) checkChangeable(host, parsed);
  const device = findDevice(host, parsed.operands[0]!);
  const { sriov } = device;
  if (sriov?.role !== "pf") {
    const why = sriov === undefined ? "has no SR-IOV" : `is a VF of ${sriov.relatives[0]}`;
    throw new ViaductError("DEVICE_UNSUPPORTED", `${device.address}: ${why}`, {
      nextStep: "`viaduct list -v` shows which devices are physical functions.",
    });
  }
  if (number === undefined) {
    if (parsed.has("--json")) printJson({ address: device.address, sriov });
    else print(statusLines(host, device).join("\n"));
    return EXIT.DONE;
  }
  const total = sriov.totalVfs ?? 0;
  if (!/^\d+$/.test(number)) throw usage(command, `--num ${number}: not a number`);
  if (Number(number) > total) {
    throw new ViaductError("DEVICE_UNSUPPORTED", `${device.address}: has at most ${total} VFs`, {
      nextStep: "viaduct explain SRIOV_BAD_COUNT",
    });
  }
  const vfs = sriov.relatives
    .map((address) => host.device(address))
    .filter((vf) => vf !== undefined);
  if (!parsed.has("--force")) checkFree(host, vfs);
  await carryOut(parsed, planVfs(device, Number(number)), () =>
    journal().record({ ...entryFor(host, device), vfs: sriov.numVfs ?? 0 }),
  );
  return EXIT.DONE;
}

function statusLines(host: Host, device: HostDevice): string[] {
  const { sriov } = device;
  return [
    `${device.address}: ${sriov?.numVfs} of ${sriov?.totalVfs} VFs, driver ${device.driver ?? "none"}`,
    ...(sriov?.relatives ?? []).map((address) => {
      const vf = host.device(address);
      const group = vf?.group === undefined ? "no group" : `group ${vf.group}`;
      return `  ${address} [${group}, ${vf?.driver ?? "no driver"}]`;
    }),
  ];
}
