/** The properties of each `-device`, for its `help`. */

import { ViaductError } from "../sys/sys-error.ts";
import { propertyNames } from "../vfio/pci/properties.ts";
import { BRIDGE_PROPERTIES } from "./bridges.ts";
import { IGD_LPC_BRIDGE, IGD_LPC_BRIDGE_PROPERTIES } from "./igd-lpc-bridge.ts";

/** @throws {ViaductError} PROPERTY for a driver that is not there */
export function deviceProperties(driver: string): readonly string[] {
  const bridge = BRIDGE_PROPERTIES.get(driver);
  if (bridge) return bridge;
  if (driver === "vfio-pci" || driver === "vfio-pci-nohotplug") return propertyNames(driver);
  if (driver === IGD_LPC_BRIDGE) return IGD_LPC_BRIDGE_PROPERTIES;
  const drivers = [...BRIDGE_PROPERTIES.keys(), "vfio-pci", "vfio-pci-nohotplug", IGD_LPC_BRIDGE];
  throw new ViaductError("PROPERTY", `-device ${driver}: There is no such device`, {
    nextStep: `Devices: ${drivers.join(", ")}.`,
  });
}
