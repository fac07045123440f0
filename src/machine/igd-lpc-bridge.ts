/**
 * `-device vfio-pci-igd-lpc-bridge`: the dummy LPC bridge of Intel graphics, made by hand, for
 * example to give it `multifunction` (spec/igd.md 6.1). Legacy mode makes one by itself.
 */

import { ViaductError } from "../sys/sys-error.ts";
import { IgdLpcBridge } from "../vfio/pci/quirks/igd-bridges.ts";
import { type DeviceOption, PropertyReader } from "./device-options.ts";
import type { Place } from "./devices.ts";

export const IGD_LPC_BRIDGE = "vfio-pci-igd-lpc-bridge";
export const IGD_LPC_BRIDGE_PROPERTIES = ["addr", "bus", "id", "multifunction"];

/** @throws {ViaductError} PROPERTY: hot-plugged, elsewhere than at 1f.0, an unknown property */
export function makeIgdLpcBridge(option: DeviceOption, place: Place): IgdLpcBridge {
  const { bus, devfn, hotplugged } = place;
  if (hotplugged) {
    throw new ViaductError("PROPERTY", `Device '${IGD_LPC_BRIDGE}' does not support hotplugging`, {
      nextStep: "Give it when the machine starts.",
    });
  }
  const reader = new PropertyReader(option);
  const multifunction = reader.takeSwitch("multifunction") ?? false;
  for (const name of IGD_LPC_BRIDGE_PROPERTIES) reader.take(name);
  reader.finish(IGD_LPC_BRIDGE_PROPERTIES);
  return IgdLpcBridge.create(bus, devfn, multifunction);
}
