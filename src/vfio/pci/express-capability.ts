/**
 * The PCI Express capability fitted to where the guest's function sits: a device behind a physical
 * root port may be on the guest's root bus, and the other way round (spec/pci.md 5.8 to 5.12).
 */

import * as pci from "../../abi/pci-express-regs.ts";
import { hex } from "../../memory/address.ts";
import type { PciBus } from "../../pci/bus.ts";
import { ViaductError } from "../../sys/sys-error.ts";
import { showAtomicOps } from "./atomic-ops.ts";
import { emulateField } from "./ids.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";

/** x1 at 2.5 GT/s. */
const LNKCAP_SLOWEST = pci.PCI_EXP_LNKSTA_NLW_X1 | pci.PCI_EXP_LNKCAP_SLS_2_5GB;

/** Offset and length of the link registers, and of those of version 2. */
const LINK_REGISTERS = [
  [pci.PCI_EXP_LNKCAP, 4],
  [pci.PCI_EXP_LNKCTL, 2],
  [pci.PCI_EXP_LNKSTA, 2],
] as const;
const LINK2_REGISTERS = [
  [pci.PCI_EXP_LNKCAP2, 4],
  [pci.PCI_EXP_LNKCTL2, 2],
  [pci.PCI_EXP_LNKSTA2, 2],
] as const;

/** True when the top of the hierarchy, through any bridges, is PCI Express. */
function hierarchyIsExpress(bus: PciBus): boolean {
  let top = bus;
  while (top.parent) top = top.parent.bus;
  return top.isExpress;
}

/**
 * Emulates what differs from the physical device.
 * @returns false when the guest must not see the capability
 * @throws {ViaductError} DEVICE_UNSUPPORTED for a bridge, a port or a switch
 */
export function adaptExpressCapability(fn: VfioPciFunction, offset: number, size: number): boolean {
  const { config, bus } = fn;
  const flags = config.read(offset + pci.PCI_EXP_FLAGS, 2);
  const type = (flags & pci.PCI_EXP_FLAGS_TYPE) >> 4;
  const accepted = [pci.PCI_EXP_TYPE_ENDPOINT, pci.PCI_EXP_TYPE_LEG_END, pci.PCI_EXP_TYPE_RC_END];
  if (!accepted.includes(type)) {
    throw new ViaductError(
      "DEVICE_UNSUPPORTED",
      `assignment of PCIe type ${hex(type)} devices is not currently supported`,
    );
  }
  if (!bus.isExpress) {
    if (hierarchyIsExpress(bus)) return false;
  } else if (bus.isRoot) {
    if (type === pci.PCI_EXP_TYPE_LEG_END) return false;
    if (type === pci.PCI_EXP_TYPE_ENDPOINT) becomeIntegrated(fn, offset, size);
  } else {
    if (type === pci.PCI_EXP_TYPE_RC_END) becomeEndpoint(fn, offset, size);
    fn.hideAtomicOps = showAtomicOps(fn);
  }
  if ((flags & pci.PCI_EXP_FLAGS_VERS) === 0) {
    // Intel 82599 virtual functions report 0, with which Windows does not start them.
    setFlags(fn, offset, pci.PCI_EXP_FLAGS_VERS, 1);
  }
  return true;
}

/** A root-complex integrated endpoint has no link. */
function becomeIntegrated(fn: VfioPciFunction, offset: number, size: number): void {
  setFlags(fn, offset, pci.PCI_EXP_FLAGS_TYPE, pci.PCI_EXP_TYPE_RC_END << 4);
  const registers = [
    ...(size > pci.PCI_EXP_LNKCTL ? LINK_REGISTERS : []),
    ...(size > pci.PCI_EXP_LNKCAP2 ? LINK2_REGISTERS : []),
  ];
  for (const [at, length] of registers) emulateField(fn.config, offset + at, length, 0);
}

function becomeEndpoint(fn: VfioPciFunction, offset: number, size: number): void {
  setFlags(fn, offset, pci.PCI_EXP_FLAGS_TYPE, pci.PCI_EXP_TYPE_ENDPOINT << 4);
  if (size <= pci.PCI_EXP_LNKCTL) return;
  emulateField(fn.config, offset + pci.PCI_EXP_LNKCAP, 4, LNKCAP_SLOWEST);
  emulateField(fn.config, offset + pci.PCI_EXP_LNKCTL, 2, 0);
}

/** Replaces and emulates the bits `mask` of the flags word; they are read-only. */
function setFlags(fn: VfioPciFunction, offset: number, mask: number, value: number): void {
  const { config } = fn;
  const at = offset + pci.PCI_EXP_FLAGS;
  config.write(at, 2, (config.read(at, 2) & ~mask) | value);
  config.setMask(config.emuMask, at, 2, readMask(config.emuMask, at) | mask);
  config.setMask(config.wmask, at, 2, readMask(config.wmask, at) & ~mask);
}

function readMask(mask: Uint8Array, at: number): number {
  return mask[at]! | (mask[at + 1]! << 8);
}
