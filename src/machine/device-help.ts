/** The properties of each `-device`, for its `help`. */

import { ViaductError } from "../sys/sys-error.ts";
import { propertyNames } from "../vfio/pci/properties.ts";
import { ROOT_PORT_PROPERTIES } from "./devices.ts";

/** @throws {ViaductError} PROPERTY for a driver that is not there */
export function deviceProperties(driver: string): readonly string[] {
  if (driver === "pcie-root-port") return ROOT_PORT_PROPERTIES;
  if (driver === "vfio-pci" || driver === "vfio-pci-nohotplug") return propertyNames(driver);
  throw new ViaductError("PROPERTY", `-device ${driver}: There is no such device`, {
    nextStep: "Devices: pcie-root-port, vfio-pci, vfio-pci-nohotplug.",
  });
}
