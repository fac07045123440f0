/**
 * Exit statuses, the same for every verb.
 */

import type { ViaductError } from "../sys/sys-error.ts";

export const EXIT = {
  DONE: 0,
  REFUSED: 1,
  USAGE: 2,
  NOT_PERMITTED: 3,
  NOT_FOUND: 4,
  UNSUPPORTED: 5,
  GUEST_FAILED: 6,
} as const;

/** The exit status that a refusal of the host ends with. */
export function exitStatus(error: ViaductError): number {
  switch (error.code) {
    case "USAGE":
    case "PROPERTY":
      return EXIT.USAGE;
    case "NO_PERMISSION":
      return EXIT.NOT_PERMITTED;
    case "DEVICE_NOT_FOUND":
      return EXIT.NOT_FOUND;
    case "KVM_MISSING":
    case "VFIO_MISSING":
    case "NO_IOMMU_GROUP":
      return EXIT.UNSUPPORTED;
    default:
      return EXIT.REFUSED;
  }
}
