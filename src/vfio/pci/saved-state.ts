/**
 * The PCI state of an assigned function for migration (spec/pci.md section 18): what QEMU keeps as
 * `VFIOPCIDevice` version 1. In order: version of the generic state (le32), config space, the four
 * INTx pin levels (be32), then MSI-X table and pending bits when there is MSI-X.
 */

import { PCI_COMMAND, PCI_STATUS, PCI_STATUS_INTERRUPT } from "../../abi/pci-regs.ts";
import { be32, le32, struct } from "../../layout/struct.ts";
import { hex } from "../../memory/address.ts";
import { ViaductError } from "../../sys/sys-error.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";

const GENERIC_VERSION = 2;
const version = struct("version_id", 4, { value: le32 });
const irqState = struct("irq_state", 16, { inta: be32, intb: be32, intc: be32, intd: be32 });
const PINS = ["inta", "intb", "intc", "intd"] as const;

/** What must agree at both ends, and what is restored. */
export function savePciState(fn: VfioPciFunction): Uint8Array {
  const { config, intx, msix } = fn;
  const head = version.bytes({ value: GENERIC_VERSION });
  const bytes = config.bytes.slice();
  // The level travels as the pin's, not as the status bit.
  bytes[PCI_STATUS]! &= ~PCI_STATUS_INTERRUPT;
  const levels = irqState.bytes({});
  if (intx.level && intx.pin !== undefined) irqState.at(levels)[PINS[intx.pin]!] = 1;
  const parts: Uint8Array[] = [head, bytes, levels];
  if (msix) parts.push(msix.table, msix.pba.subarray(0, pendingBytes(msix.entries)));
  const state = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    state.set(part, at);
    at += part.length;
  }
  return state;
}

/**
 * Restores a state, tells the kernel through COMMAND, and turns MSI or MSI-X on as it was.
 * @throws {ViaductError} DEVICE_UNSUPPORTED when the state is another device's; nothing is changed
 */
export function loadPciState(fn: VfioPciFunction, state: Uint8Array): void {
  const { config, msix } = fn;
  const configAt = version.size;
  const levelsAt = configAt + config.size;
  const tableAt = levelsAt + irqState.size;
  const pendingAt = tableAt + (msix?.table.length ?? 0);
  const size = pendingAt + (msix ? pendingBytes(msix.entries) : 0);
  if (state.length !== size) refuse(fn, `${state.length} bytes, where ${size} are expected`);
  const { value } = version.at(state);
  if (value > GENERIC_VERSION) refuse(fn, `version ${value}`);
  const loaded = state.subarray(configAt, levelsAt);
  refuseMismatch(fn, loaded);
  const before = fn.facts.bars.map(({ index }) => fn.barAddress(index));
  config.update(() => config.bytes.set(loaded));
  if (msix) {
    msix.table.set(state.subarray(tableAt, pendingAt));
    msix.pba.set(state.subarray(pendingAt, size));
    msix.reload();
  }
  // Informs the kernel, and maps the BARs.
  fn.writeConfig(PCI_COMMAND, 2, config.read(PCI_COMMAND, 2));
  fn.assignedBars.fixMoved(before);
  if (fn.msi?.enabled) fn.interrupts.msi?.enable();
  else if (msix?.enabled) fn.interrupts.msix?.enable();
  const levels = irqState.at(state, levelsAt);
  fn.interrupts.intx.resume(PINS.some((pin) => levels[pin] !== 0));
}

/** Bytes that differ in bits no guest can change belong to another device. */
function refuseMismatch(fn: VfioPciFunction, loaded: Uint8Array): void {
  const { bytes, cmask, wmask, w1cmask } = fn.config;
  const at = bytes.findIndex(
    (byte, i) => ((byte ^ loaded[i]!) & cmask[i]! & ~wmask[i]! & ~w1cmask[i]!) !== 0,
  );
  if (at < 0) return;
  refuse(fn, `config byte ${hex(at)} is ${hex(loaded[at]!)}, here ${hex(bytes[at]!)}`);
}

function refuse(fn: VfioPciFunction, why: string): never {
  throw new ViaductError("DEVICE_UNSUPPORTED", `vfio ${fn.name}: Bad config data: ${why}`, {
    nextStep: "Migrate between the same device at the same place with the same properties.",
  });
}

function pendingBytes(entries: number): number {
  return Math.ceil(entries / 8);
}
