/** The lab's devices as the software host describes them: what the programs run on. */

import { SoftwareHost } from "../../src/sim/host.ts";
import type { PciDeviceSpec } from "../../src/sim/pci-spec.ts";
import { nativeSyscalls } from "../../src/sys/native.ts";
import type { ConformancePlace, SubjectName } from "./suite.ts";

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

/** Whose answers the software host gives: the newest, or what an older kernel says otherwise. */
export type LinuxVersion = "7.3" | "6.12";

/** A host with nothing but that device, in group 3. */
export function softwareHostWith(name: SubjectName, version: LinuxVersion = "7.3"): SoftwareHost {
  const isOld = version === "6.12";
  const host = new SoftwareHost(nativeSyscalls(), isOld ? { pastTheEnd: "EINVAL" } : {});
  const spec = { address: "0000:01:00.0", ...SPECS[name] };
  const isConventional = spec.configSize === 256;
  host.addDevice(isOld && isConventional ? { ...spec, reportsErrors: false } : spec, 3);
  return host;
}

export const softwarePlace = (subject: SubjectName): ConformancePlace => ({
  subject,
  groupNumber: 3,
  deviceName: "0000:01:00.0",
});
