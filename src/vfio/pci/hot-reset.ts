/**
 * Hot reset: the bus or slot of the device, with every function on it (spec/pci.md 14B). The host
 * wants proof that all of them are ours: the fds of their groups, or the iommufd that holds them.
 *
 *   single  part of one function's own reset; refused when a sibling is in use
 *   multi   part of a machine reset; siblings in use are prepared and brought back with it
 */

import { errnoNumber } from "../../abi/errno.ts";
import {
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
  VFIO_DEVICE_PCI_HOT_RESET,
  VFIO_PCI_DEVID_NOT_OWNED,
  VFIO_PCI_HOT_RESET_FLAG_DEV_ID,
  VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED,
  vfio_pci_dependent_device,
  vfio_pci_hot_reset,
  vfio_pci_hot_reset_info,
} from "../../abi/vfio.ts";
import { errnoOf, SysError } from "../../sys/sys-error.ts";
import type { VfioState } from "../state.ts";
import { postReset, preReset } from "./reset.ts";
import * as trace from "./trace.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";

export type HotResetFlavour = "single" | "multi";

/** The functions of one VMM, by name: those a hot reset may meet. */
const assigned = new WeakMap<VfioState, Map<string, VfioPciFunction>>();

/** Lets hot resets find a realized function, until the result is disposed. */
export function takePartInHotResets(fn: VfioPciFunction): Disposable {
  const state = fn.env.vfio;
  const functions = assigned.get(state) ?? new Map<string, VfioPciFunction>();
  assigned.set(state, functions);
  functions.set(fn.name, fn);
  const coordinated = state.resets.add(fn);
  return {
    [Symbol.dispose]: () => {
      coordinated[Symbol.dispose]();
      functions.delete(fn.name);
    },
  };
}

interface Dependent {
  readonly name: string;
  readonly groupId: number;
  /** In the place of the group, on a device opened through its cdev. */
  readonly devid: number;
}

interface ResetInfo {
  readonly flags: number;
  readonly dependents: readonly Dependent[];
}

/** @returns whether the device was reset; a refusal is reported where it has no other way */
export function hotReset(fn: VfioPciFunction, flavour: HotResetFlavour): boolean {
  trace.vfio_pci_hot_reset.emit({ name: fn.name, type: flavour === "single" ? "one" : "multi" });
  if (flavour === "multi") preReset(fn);
  fn.needsReset = false;
  const inUse: VfioPciFunction[] = [];
  const info = askInfo(fn);
  const result = info ? run(fn, flavour, info, inUse) : "ENODEV";
  for (const other of inUse) postReset(other);
  if (flavour === "multi") postReset(fn);
  trace.vfio_pci_hot_reset_result.emit({ name: fn.name, result: result ?? "Success" });
  return result === undefined;
}

/** @returns the errno's name, undefined for success */
function run(
  fn: VfioPciFunction,
  flavour: HotResetFlavour,
  info: ResetInfo,
  inUse: VfioPciFunction[],
): string | undefined {
  trace.vfio_pci_hot_reset_has_dep_devices.emit({ name: fn.name });
  const others = info.dependents.filter(({ name }) => name !== fn.name);
  const byDevid = (info.flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID) !== 0;
  if (byDevid && !allOwned(fn, info)) return "EPERM";
  for (const dependent of others) {
    if (!byDevid && !isGroupHeld(fn, dependent)) return "EPERM";
    const other = assigned.get(fn.env.vfio)?.get(dependent.name);
    if (!other) continue;
    if (flavour === "single") return "EINVAL";
    preReset(other);
    other.needsReset = false;
    inUse.push(other);
  }
  // Alone on its bus: the single flavour suffices.
  if (flavour === "multi" && inUse.length === 0) return "EINVAL";
  return reset(fn, byDevid ? [] : groupFds(fn, info.dependents));
}

function isGroupHeld(fn: VfioPciFunction, { name, groupId }: Dependent): boolean {
  if (fn.env.vfio.groups.some(({ number }) => number === groupId)) return true;
  if (!fn.resets.hasPmReset) {
    fn.guestReport(
      `vfio: Cannot reset device ${fn.name}, depends on group ${groupId} which is not owned` +
        ` (it holds ${name})`,
    );
  }
  return false;
}

function allOwned(fn: VfioPciFunction, { flags, dependents }: ResetInfo): boolean {
  if ((flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED) !== 0) return true;
  for (const { name, devid } of dependents) {
    if (devid !== VFIO_PCI_DEVID_NOT_OWNED || fn.resets.hasPmReset) continue;
    fn.guestReport(
      `vfio: Cannot reset device ${fn.name}, depends on device ${name} which is not owned`,
    );
  }
  return false;
}

/** One fd for each group that appears, whether its devices are assigned or not. */
function groupFds(fn: VfioPciFunction, dependents: readonly Dependent[]): number[] {
  return fn.env.vfio.groups
    .filter(({ number }) => dependents.some(({ groupId }) => groupId === number))
    .map(({ fd }) => fd);
}

function reset(fn: VfioPciFunction, fds: readonly number[]): string | undefined {
  const argsz = vfio_pci_hot_reset.size + 4 * fds.length;
  const arg = new Uint8Array(argsz);
  arg.set(vfio_pci_hot_reset.bytes({ argsz, count: fds.length }));
  new Int32Array(arg.buffer, vfio_pci_hot_reset.size, fds.length).set(fds);
  const result = fn.device.ioctl(VFIO_DEVICE_PCI_HOT_RESET, arg);
  if (result >= 0) return undefined;
  const { code } = new SysError(-result, "VFIO_DEVICE_PCI_HOT_RESET");
  fn.guestReport(`vfio: ${failure(fn, code)}`);
  return code;
}

/** ENOTTY is what the host's kernel says when the link is not up again a second after the reset. */
function failure(fn: VfioPciFunction, code: string): string {
  const why = code === "ENOTTY" ? ": the link of the port above did not come back" : "";
  const refused = `hot reset of its bus failed (${code})${why}`;
  const powerStateIsLeft = fn.facts.resetWorks && fn.resets.hasPmReset;
  if (powerStateIsLeft)
    return `device ${fn.name}: ${refused}; it is reset by its power state instead`;
  return (
    `Cannot reset device ${fn.name}, ${refused}; ` +
    "the guest finds it as it left it. The host's kernel log (dmesg) says more"
  );
}

function askInfo(fn: VfioPciFunction): ResetInfo | undefined {
  const head = vfio_pci_hot_reset_info.size;
  const bare = vfio_pci_hot_reset_info.bytes({ argsz: head });
  const first = fn.device.ioctl(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, bare);
  if (first < 0 && first !== -errnoNumber("ENOSPC")) return refuse(fn, first);
  const { count } = vfio_pci_hot_reset_info.at(bare);
  const argsz = head + count * vfio_pci_dependent_device.size;
  const arg = new Uint8Array(argsz);
  arg.set(vfio_pci_hot_reset_info.bytes({ argsz }));
  const second = fn.device.ioctl(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, arg);
  if (second < 0) return refuse(fn, second);
  const { flags } = vfio_pci_hot_reset_info.at(arg);
  const dependents = Array.from({ length: count }, (_, i) =>
    decode(arg, head + i * vfio_pci_dependent_device.size),
  );
  return { flags, dependents };
}

function refuse(fn: VfioPciFunction, result: number): undefined {
  if (fn.resets.hasPmReset) return;
  const error = new SysError(-result, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO");
  fn.guestReport(
    `vfio: Cannot reset device ${fn.name}, no available reset mechanism (${errnoOf(error)})`,
  );
}

function decode(arg: Uint8Array, at: number): Dependent {
  const { group_id, segment, bus, devfn } = vfio_pci_dependent_device.at(arg, at);
  const pad = (value: number, width: number) => value.toString(16).padStart(width, "0");
  trace.vfio_pci_hot_reset_dep_devices.emit({
    domain: segment,
    bus,
    slot: devfn >> 3,
    function: devfn & 7,
    group_id,
  });
  const name = `${pad(segment, 4)}:${pad(bus, 2)}:${pad(devfn >> 3, 2)}.${devfn & 7}`;
  return { name, groupId: group_id, devid: group_id | 0 };
}
