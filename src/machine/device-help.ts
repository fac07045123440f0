/** The properties of each `-device`, for its `help`. */

import { ViaductError } from "../sys/sys-error.ts";
import { propertyNames } from "../vfio/pci/properties.ts";
import { BRIDGE_PROPERTIES } from "./bridges.ts";

/** @throws {ViaductError} PROPERTY for a driver that is not there */
export function deviceProperties(driver: string): readonly string[] {
  const bridge = BRIDGE_PROPERTIES.get(driver);
  if (bridge) return bridge;
  if (driver === "vfio-pci" || driver === "vfio-pci-nohotplug") return propertyNames(driver);
  throw new ViaductError("PROPERTY", `-device ${driver}: There is no such device`, {
    nextStep: `Devices: ${[...BRIDGE_PROPERTIES.keys()].join(", ")}, vfio-pci, vfio-pci-nohotplug.`,
  });
}
