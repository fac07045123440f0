/**
 * The commands of the control socket: names, arguments and answers of the QEMU Machine Protocol
 * (QEMU's QMP reference manual). The table is at the end; session.ts reads it.
 */

import type { PciFunction } from "../../pci/function.ts";
import { ViaductError } from "../../sys/sys-error.ts";
import type { RunState } from "../run-state.ts";
import { deviceOptionOf, type JsonObject, refuseUnexpected, stringArgument } from "./arguments.ts";
import type { ControlledMachine } from "./control.ts";
import { QmpError } from "./qmp-error.ts";
import { queryPci } from "./query-pci.ts";
import { VERSION } from "./version.ts";

/** @returns the `return` member of the reply. @throws {QmpError}, {ViaductError} */
type Command = (machine: ControlledMachine, args: JsonObject) => unknown;

interface CommandEntry {
  /** The arguments it takes; `any`: it looks at them itself. */
  readonly takes: readonly string[] | "any";
  readonly run: Command;
}

const DONE = {};

/** Words that QEMU has; a guest that restarts is running for all who ask. */
function statusOf(state: RunState): { running: boolean; status: string } {
  const status = state === "resetting" ? "running" : state;
  return { running: status === "running", status };
}

/** A machine that ran into an error can be looked at, and ended. */
function refuseInError({ state }: ControlledMachine): void {
  if (state === "internal-error") {
    throw new QmpError("The machine ran into an internal error and cannot go on; use 'quit'");
  }
}

async function stop(machine: ControlledMachine): Promise<unknown> {
  await machine.pause();
  return DONE;
}

function cont(machine: ControlledMachine): unknown {
  refuseInError(machine);
  machine.resume();
  return DONE;
}

async function systemReset(machine: ControlledMachine): Promise<unknown> {
  refuseInError(machine);
  await machine.reset("host-qmp-system-reset");
  return DONE;
}

function systemPowerdown(machine: ControlledMachine): unknown {
  machine.pressPowerButton();
  return DONE;
}

/** Ends the machine when the reply is on its way. */
function quit(machine: ControlledMachine): unknown {
  setImmediate(() => machine.quit("host-qmp-quit"));
  return DONE;
}

async function deviceAdd(machine: ControlledMachine, args: JsonObject): Promise<unknown> {
  await machine.addDevice(deviceOptionOf(args));
  return DONE;
}

function deviceDel(machine: ControlledMachine, args: JsonObject): unknown {
  try {
    machine.removeDevice(stringArgument(args, "id"));
  } catch (error) {
    if (!(error instanceof ViaductError) || error.code !== "DEVICE_NOT_FOUND") throw error;
    throw new QmpError(error.message, "DeviceNotFound");
  }
  return DONE;
}

function listPci({ pciRoot, devices }: ControlledMachine): unknown {
  const ids = new Map<PciFunction, string>();
  for (const { fn, id } of devices) if (id !== undefined) ids.set(fn, id);
  return queryPci(pciRoot.bus, ids);
}

const plain = (run: Command): CommandEntry => ({ takes: [], run });

export const COMMANDS: ReadonlyMap<string, CommandEntry> = new Map([
  ["query-commands", plain(() => [...COMMANDS.keys()].map((name) => ({ name })))],
  ["query-version", plain(() => VERSION)],
  ["query-status", plain(({ state }) => statusOf(state))],
  ["query-name", plain(() => DONE)],
  ["query-kvm", plain(() => ({ enabled: true, present: true }))],
  ["query-pci", plain(listPci)],
  ["stop", plain(stop)],
  ["cont", plain(cont)],
  ["system_reset", plain(systemReset)],
  ["system_powerdown", plain(systemPowerdown)],
  ["quit", plain(quit)],
  ["device_add", { takes: "any", run: deviceAdd }],
  ["device_del", { takes: ["id"], run: deviceDel }],
  ["qmp_capabilities", plain(alreadyNegotiated)],
]);

function alreadyNegotiated(): never {
  throw new QmpError(
    "Capabilities negotiation is already complete, command ignored",
    "CommandNotFound",
  );
}

/** Runs a command by name. @throws {QmpError}, {ViaductError} */
export async function runCommand(
  machine: ControlledMachine,
  name: string,
  args: JsonObject,
): Promise<unknown> {
  const command = COMMANDS.get(name);
  if (command === undefined) {
    throw new QmpError(`The command ${name} has not been found`, "CommandNotFound");
  }
  if (command.takes !== "any") refuseUnexpected(args, command.takes);
  return command.run(machine, args);
}
