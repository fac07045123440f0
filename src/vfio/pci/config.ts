/**
 * What a guest's access to config space does (spec/pci.md 4.1 to 4.5). A read mixes shadow and
 * device by bit. A write always reaches the device first, raw: the kernel filters. Then exactly
 * one branch runs: MSI, MSI-X, BARs and COMMAND, or anything else.
 */

import { PCI_BASE_ADDRESS_0, PCI_CAP_MSIX_SIZEOF, PCI_COMMAND } from "../../abi/pci-regs.ts";
import { mergedRead } from "../../pci/config-space.ts";
import { BAR_COUNT } from "./populate.ts";
import * as trace from "./trace.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";

const BARS_SIZE = 4 * BAR_COUNT;

/**
 * @param length 1 to 4
 * @returns the value, or an errno negated when the device had to be asked and did not answer
 */
export function guestRead(fn: VfioPciFunction, offset: number, length: number): number {
  let failure = 0;
  const value = mergedRead(fn.config, offset, length, (at, count) => {
    const answer = fn.deviceConfig.read(at, count);
    if (answer < 0) failure = answer;
    return answer >>> 0;
  });
  const result = failure < 0 ? failure : value;
  const point = trace.vfio_pci_read_config;
  if (point.enabled) point.emit({ name: fn.name, addr: offset, len: length, val: result });
  return result;
}

export function guestWrite(
  fn: VfioPciFunction,
  offset: number,
  length: number,
  value: number,
): void {
  const inside = Math.min(length, fn.config.size - offset);
  if (inside <= 0) return;
  const point = trace.vfio_pci_write_config;
  if (point.enabled) point.emit({ name: fn.name, addr: offset, val: value, len: length });
  fn.deviceConfig.write(offset, inside, value);
  const { msi, msix } = fn.interrupts;
  const overlaps = (start: number, size: number) =>
    offset < start + size && start < offset + inside;
  if (msi && overlaps(msi.capability.offset, msi.capability.size)) {
    writeMsi(fn, offset, inside, value);
  } else if (msix && overlaps(msix.capability.offset, PCI_CAP_MSIX_SIZEOF)) {
    writeMsix(fn, offset, inside, value);
  } else if (overlaps(PCI_BASE_ADDRESS_0, BARS_SIZE) || overlaps(PCI_COMMAND, 1)) {
    writeBars(fn, offset, inside, value);
  } else {
    fn.applyConfigWrite(offset, inside, value);
  }
}

function writeMsi(fn: VfioPciFunction, offset: number, length: number, value: number): void {
  const msi = fn.interrupts.msi!;
  const wasEnabled = msi.capability.enabled;
  fn.applyConfigWrite(offset, length, value);
  const { enabled } = msi.capability;
  if (!wasEnabled && enabled) msi.enable();
  else if (fn.interrupts.mode !== "msi")
    return; // MSI-X was turned on over it.
  else if (enabled) msi.update();
  else msi.disable();
}

function writeMsix(fn: VfioPciFunction, offset: number, length: number, value: number): void {
  const msix = fn.interrupts.msix!;
  const wasEnabled = msix.capability.enabled;
  fn.applyConfigWrite(offset, length, value);
  const { enabled } = msix.capability;
  if (!wasEnabled && enabled) msix.enable();
  else if (!enabled && fn.interrupts.mode === "msix") msix.disable();
}

function writeBars(fn: VfioPciFunction, offset: number, length: number, value: number): void {
  const before = fn.facts.bars.map(({ index }) => fn.barAddress(index));
  fn.applyConfigWrite(offset, length, value);
  fn.assignedBars.fixMoved(before);
  fn.vga?.update();
}
