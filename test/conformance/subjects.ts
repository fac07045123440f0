/** The lab's devices as the software host describes them: what the programs run on. */

import type { PciDeviceSpec } from "../../src/sim/pci-spec.ts";
import type { SubjectName } from "./suite.ts";

const SPECS: Readonly<Record<SubjectName, Omit<PciDeviceSpec, "address">>> = {
  edu: {
    vendorId: 0x1234,
    deviceId: 0x11e8,
    classCode: 0x00ff00,
    revision: 0x10,
    configSize: 256,
    powerManagement: false,
    bars: { 0: { size: 0x10_0000, kind: "mem32" } },
    interruptPin: 1,
    msi: { vectors: 1 },
  },
  nvme: {
    vendorId: 0x1b36,
    deviceId: 0x0010,
    classCode: 0x010802,
    bars: { 0: { size: 0x4000, kind: "mem64" } },
    interruptPin: 1,
    msix: {
      vectors: 65,
      table: { bar: 0, offset: 0x2000 },
      pba: { bar: 0, offset: 0x3000 },
      dynamic: true,
    },
  },
};

export function softwareSubject(name: SubjectName): PciDeviceSpec {
  return { address: "0000:01:00.0", ...SPECS[name] };
}
