/**
 * The standard capability list, rebuilt for the guest (spec/pci.md section 5). From the last
 * capability to the first, because adding puts an entry at the head: the order stays, without those
 * that are dropped, and virtual ones come last.
 */

import { PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_FLR } from "../../abi/pci-express-regs.ts";
import * as pci from "../../abi/pci-regs.ts";
import { hex } from "../../memory/address.ts";
import { walkCapabilities } from "../../pci/capabilities.ts";
import { MsiCapability, msiShapeOf } from "../../pci/msi.ts";
import { MsixCapability } from "../../pci/msix.ts";
import { ViaductError } from "../../sys/sys-error.ts";
import { adaptExpressCapability } from "./express-capability.ts";
import { AssignedMsi } from "./msi.ts";
import { AssignedMsix } from "./msix.ts";
import type { MsixLayout } from "./msix-layout.ts";
import * as trace from "./trace.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";
import { addVirtualCapabilities } from "./virtual-capabilities.ts";

/** @returns false when the device has no list; then the extended one is left alone too */
export function rebuildCapabilities(fn: VfioPciFunction, msix: MsixLayout | undefined): boolean {
  const { config } = fn;
  const chain = walkCapabilities(config.bytes);
  if (chain.length === 0) return false;
  const offsets = chain.map(({ offset }) => offset);
  const sizes = chain.map(({ offset }) => distanceToNext(offset, offsets));
  config.write(pci.PCI_CAPABILITY_LIST, 1, 0);
  config.emuMask[pci.PCI_CAPABILITY_LIST] = 0xff;
  config.emuMask[pci.PCI_STATUS]! |= pci.PCI_STATUS_CAP_LIST;
  addVirtualCapabilities(fn, offsets);
  for (let i = chain.length - 1; i >= 0; i--) {
    const { id, offset } = chain[i]!;
    config.emuMask[offset + pci.PCI_CAP_LIST_NEXT] = 0xff;
    // A virtual capability placed right behind shrinks its neighbour.
    const present = walkCapabilities(config.bytes).map((entry) => entry.offset);
    const size = Math.min(sizes[i]!, distanceToNext(offset, present));
    addCapability(fn, { id, offset, size }, msix);
  }
  return true;
}

function distanceToNext(offset: number, offsets: readonly number[]): number {
  const above = offsets.filter((other) => other > offset);
  return Math.min(pci.PCI_CFG_SPACE_SIZE, ...above) - offset;
}

interface Capability {
  readonly id: number;
  readonly offset: number;
  readonly size: number;
}

function addCapability(
  fn: VfioPciFunction,
  capability: Capability,
  msix: MsixLayout | undefined,
): void {
  const { id, offset, size } = capability;
  try {
    addById(fn, capability, msix);
  } catch (cause) {
    if (!(cause instanceof ViaductError)) throw cause;
    throw new ViaductError(
      cause.code,
      `failed to add PCI capability ${hex(id)}[${hex(size)}]@${hex(offset)}: ${cause.message}`,
      { cause, nextStep: cause.nextStep },
    );
  }
}

function addById(
  fn: VfioPciFunction,
  { id, offset, size }: Capability,
  msix: MsixLayout | undefined,
): void {
  const { config, resets } = fn;
  switch (id) {
    case pci.PCI_CAP_ID_MSI:
      addMsi(fn, offset);
      return;
    case pci.PCI_CAP_ID_MSIX:
      if (msix) addMsix(fn, msix);
      return;
    case pci.PCI_CAP_ID_EXP:
      if ((config.read(offset + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR) !== 0) {
        trace.vfio_check_pcie_flr.emit({ name: fn.name });
        resets.hasFlr = true;
      }
      if (adaptExpressCapability(fn, offset, size)) config.addCapability(id, offset, size);
      return;
    case pci.PCI_CAP_ID_PM:
      if ((config.read(offset + pci.PCI_PM_CTRL, 2) & pci.PCI_PM_CTRL_NO_SOFT_RESET) === 0) {
        trace.vfio_check_pm_reset.emit({ name: fn.name });
        resets.hasPmReset = true;
      }
      resets.pmOffset = offset;
      config.addCapability(id, offset, pci.PCI_PM_SIZEOF);
      fn.registerPowerManagement(offset);
      return;
    case pci.PCI_CAP_ID_AF: {
      const both = pci.PCI_AF_CAP_TP | pci.PCI_AF_CAP_FLR;
      if ((config.read(offset + pci.PCI_AF_CAP, 1) & both) === both) {
        trace.vfio_check_af_flr.emit({ name: fn.name });
        resets.hasFlr = true;
      }
      config.addCapability(id, offset, size);
      return;
    }
    default:
      config.addCapability(id, offset, size);
      if (id === pci.PCI_CAP_ID_VNDR && size > 3 && fn.properties["skip-vsc-check"]) {
        config.cmask.fill(0, offset + 3, offset + size);
      }
  }
}

function addMsi(fn: VfioPciFunction, offset: number): void {
  const control = fn.deviceConfig.read(offset + pci.PCI_MSI_FLAGS, 2);
  if (control < 0) throw new ViaductError("REGION_FAILED", "failed reading MSI PCI_CAP_FLAGS");
  trace.vfio_msi_setup.emit({ name: fn.name, pos: offset });
  // The body starts as the device has it; the guest's begins empty.
  const shape = msiShapeOf(control);
  const capability = MsiCapability.create(fn, shape, offset);
  capability.reset();
  fn.interrupts.msi = new AssignedMsi(fn, capability);
}

function addMsix(fn: VfioPciFunction, layout: MsixLayout): void {
  const place = (bar: number, offset: number) => {
    const container = fn.assignedBars.get(bar)?.container;
    if (container) return { bar, offset, container };
    throw new ViaductError("DEVICE_UNSUPPORTED", `BAR ${bar} of the MSI-X structures is absent`);
  };
  const { offset, entries, tableBar, tableOffset, pbaBar, pbaOffset } = layout;
  const table = place(tableBar, tableOffset);
  const pba = place(pbaBar, pbaOffset);
  const capability = MsixCapability.create(fn, { entries, table, pba, offset });
  fn.interrupts.msix = new AssignedMsix(fn, capability, layout.noresize);
}
