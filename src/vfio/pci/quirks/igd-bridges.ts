/**
 * The bridges that Intel graphics' firmware and drivers look at (spec/igd.md section 6): the ISA
 * bridge at 00:1f.0 and the host bridge at 00:00.0 show some of the host's IDs.
 */

import {
  PCI_DEVICE_ID,
  PCI_REVISION_ID,
  PCI_SUBSYSTEM_ID,
  PCI_SUBSYSTEM_VENDOR_ID,
  PCI_VENDOR_ID,
} from "../../../abi/pci-regs.ts";
import { hex } from "../../../memory/address.ts";
import { devfnOf, type PciBus } from "../../../pci/bus.ts";
import { readLittleEndian } from "../../../pci/config-space.ts";
import { PciFunction } from "../../../pci/function.ts";
import { identify } from "../../../pci/root-complex.ts";
import type { Owner } from "../../../sys/owner.ts";
import { ViaductError } from "../../../sys/sys-error.ts";
import type { RegionInfo } from "../../device.ts";
import type { VfioPciFunction } from "../vfio-pci.ts";
import * as trace from "./trace.ts";

export const LPC_DEVFN = devfnOf(0x1f);
const HOST_BRIDGE_DEVFN = devfnOf(0);
const CLASS_BRIDGE_ISA = 0x0601;
const VENDOR_INTEL = 0x8086;

/** Words copied from the host's bridges. */
const LPC_WORDS = [
  PCI_VENDOR_ID,
  PCI_DEVICE_ID,
  PCI_REVISION_ID,
  PCI_SUBSYSTEM_VENDOR_ID,
  PCI_SUBSYSTEM_ID,
];
/** The guest keeps its own chipset, so vendor and device are not among them. */
const HOST_WORDS = [PCI_REVISION_ID, PCI_SUBSYSTEM_VENDOR_ID, PCI_SUBSYSTEM_ID];

/** A bridge that is only looked at (`vfio-pci-igd-lpc-bridge`). */
export class IgdLpcBridge extends PciFunction {
  /**
   * The caller attaches it.
   * @throws {ViaductError} PROPERTY at any other place than 1f.0 of the root bus
   */
  static create(bus: PciBus, devfn: number, multifunction = false): IgdLpcBridge {
    if (!bus.isRoot || devfn !== LPC_DEVFN) {
      throw new ViaductError("PROPERTY", "VFIO dummy ISA/LPC bridge must have address 1f.0");
    }
    const name = "igd lpc bridge";
    const bridge = new IgdLpcBridge({ name, bus, devfn, configSize: 256, multifunction });
    identify(bridge, { vendor: VENDOR_INTEL, device: 0, classCode: CLASS_BRIDGE_ISA });
    return bridge;
  }
}

/**
 * Gives the guest's two bridges the host's IDs; the LPC bridge is made when there is none, and goes
 * with `owner`.
 * @param regions where the kernel shows the host's
 * @throws {ViaductError} REGION_FAILED, DEVICE_UNSUPPORTED without a host bridge
 */
export function showBridgeIds(
  fn: VfioPciFunction,
  regions: { readonly host: RegionInfo; readonly lpc: RegionInfo },
  owner: Owner,
): void {
  const { bus, name } = fn;
  const hostBridge = bus.get(HOST_BRIDGE_DEVFN);
  if (!hostBridge) {
    throw new ViaductError("DEVICE_UNSUPPORTED", "the guest has no host bridge to show as IGD's");
  }
  let lpcBridge = bus.get(LPC_DEVFN);
  if (!lpcBridge) {
    lpcBridge = owner.own(IgdLpcBridge.create(bus, LPC_DEVFN));
    bus.attach(lpcBridge);
  }
  copyWords(fn, regions.lpc, lpcBridge, LPC_WORDS);
  trace.vfio_pci_igd_lpc_bridge_enabled.emit({ name });
  copyWords(fn, regions.host, hostBridge, HOST_WORDS);
  trace.vfio_pci_igd_host_bridge_enabled.emit({ name });
}

function copyWords(
  fn: VfioPciFunction,
  from: RegionInfo,
  bridge: PciFunction,
  words: readonly number[],
): void {
  for (const offset of words) {
    const word = new Uint8Array(2);
    if (fn.device.readRegion(from, offset, word) !== word.length) {
      const message = `failed to read the ${bridge.name}'s IDs at ${hex(offset)} of region`;
      throw new ViaductError("REGION_FAILED", `${message} ${from.index}`);
    }
    bridge.config.write(offset, 2, readLittleEndian(word, 0, 2));
  }
}
