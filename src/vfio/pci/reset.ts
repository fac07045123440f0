/**
 * Reset of one assigned function (spec/pci.md 14A): by the kernel where it has a better way than a
 * power-state transition, else with the whole slot or bus, else by power state.
 */

import {
  PCI_BASE_ADDRESS_0,
  PCI_COMMAND,
  PCI_COMMAND_INTX_DISABLE,
  PCI_COMMAND_IO,
  PCI_COMMAND_MASTER,
  PCI_COMMAND_MEMORY,
  PCI_PM_CTRL,
  PCI_PM_CTRL_STATE_MASK,
} from "../../abi/pci-regs.ts";
import { hotReset } from "./hot-reset.ts";
import { attempt } from "./interrupts.ts";
import { BAR_COUNT } from "./populate.ts";
import * as trace from "./trace.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";

/** What the capabilities say of resets. */
export interface ResetFacts {
  hasFlr: boolean;
  /** Going to D3hot and back resets the device. */
  hasPmReset: boolean;
  /** Offset of the power management capability. */
  pmOffset: number | undefined;
}

export function resetDevice(fn: VfioPciFunction): void {
  trace.vfio_pci_reset.emit({ name: fn.name });
  preReset(fn);
  runReset(fn);
  postReset(fn);
}

/** The first way that works. */
function runReset(fn: VfioPciFunction): void {
  if (fn.deviceSpecificReset?.()) return;
  const { hasFlr, hasPmReset } = fn.resets;
  const { resetWorks } = fn.facts;
  if (resetWorks && (hasFlr || !hasPmReset) && kernelReset(fn)) {
    trace.vfio_pci_reset_flr.emit({ name: fn.name });
    return;
  }
  if (hotReset(fn, "single")) return;
  if (resetWorks && hasPmReset && kernelReset(fn)) trace.vfio_pci_reset_pm.emit({ name: fn.name });
}

function kernelReset(fn: VfioPciFunction): boolean {
  return attempt(fn.guestReport, fn.name, () => fn.device.reset());
}

/** Quiet before the storm: no interrupts, no decoding, no DMA, D0 (14.2). */
export function preReset(fn: VfioPciFunction): void {
  fn.interrupts.disable();
  const quiet = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE;
  const command = fn.guestRead(PCI_COMMAND, 2);
  // Before the power transition: a device that leaves D3 must not do DMA at once.
  if (command >= 0) fn.writeConfig(PCI_COMMAND, 2, command & ~quiet);
  const { pmOffset } = fn.resets;
  if (pmOffset === undefined) return;
  const at = pmOffset + PCI_PM_CTRL;
  const control = fn.guestRead(at, 2);
  if (control < 0 || (control & PCI_PM_CTRL_STATE_MASK) === 0) return;
  fn.writeConfig(at, 2, control & ~PCI_PM_CTRL_STATE_MASK);
  const after = fn.guestRead(at, 2);
  const state = after < 0 ? 3 : after & PCI_PM_CTRL_STATE_MASK;
  if (state !== 0)
    fn.guestReport(`vfio: Unable to power on device, stuck in D${state} (${fn.name})`);
}

/** INTx again, the kernel's virtual BARs cleared, quirks as at the start (14.3). */
export function postReset(fn: VfioPciFunction): void {
  attempt(fn.guestReport, fn.name, () => fn.interrupts.intx.enable());
  for (let index = 0; index < BAR_COUNT; index++) {
    fn.deviceConfig.write(PCI_BASE_ADDRESS_0 + 4 * index, 4, 0);
  }
  fn.resetQuirks?.();
}
