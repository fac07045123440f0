/**
 * The software host answers as kernels do: hundreds of programs, right and wrong, run on it and on
 * the real VFIO of the lab kernel and of the stock Debian one, for a device with INTx and MSI and
 * one with MSI-X.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { KernelName } from "../../lab/kernel.ts";
import { L1 } from "../../lab/l1.ts";
import { ScratchDisk } from "../../lab/scratch-disk.ts";
import { SoftwareHost } from "../../src/sim/host.ts";
import { nativeSyscalls } from "../../src/sys/native.ts";
import { softwareSubject } from "../conformance/subjects.ts";
import { runConformance, type SubjectName } from "../conformance/suite.ts";
import { hostState, kernelIsWell } from "./l1-state.ts";

const program = join(import.meta.dirname, "conformance-inside.js");

function softwareAnswers(subject: SubjectName): string[] {
  using host = new SoftwareHost(nativeSyscalls());
  const spec = softwareSubject(subject);
  host.addDevice(spec, 3);
  return runConformance(host, { subject, groupNumber: 3, deviceName: spec.address });
}

async function kernelAnswers(l1: L1, subject: SubjectName, device: string): Promise<string[]> {
  await l1.bindVfio(device);
  const group = await l1.sh(`basename $(readlink /sys/bus/pci/devices/${device}/iommu_group)`);
  const { status, stdout, stderr } = await l1.run(["node", program, subject, group, device]);
  assert.equal(status, 0, stderr);
  return stdout.trimEnd().split("\n");
}

/** Where an older kernel answers otherwise; the software host is as the newest. */
const OLDER: Readonly<Record<KernelName, ReadonlyMap<string, string>>> = {
  lab: new Map(),
  debian: new Map([
    ["MAP_DMA past 2^64: EOVERFLOW", "MAP_DMA past 2^64: EINVAL"],
    ["MAP_DMA of memory past 2^64: EOVERFLOW", "MAP_DMA of memory past 2^64: EINVAL"],
  ]),
};

function asOlder(kernel: KernelName, line: string): string {
  for (const [newest, older] of OLDER[kernel]) {
    if (line.startsWith(newest)) return older + line.slice(newest.length);
  }
  return line;
}

for (const kernel of ["lab", "debian"] as const) {
  test(`the software host answers as the ${kernel} kernel`, { timeout: 300_000 }, async () => {
    using disk = new ScratchDisk(8);
    await using l1 = await L1.start({ kernel });
    const edu = await l1.plug("edu");
    const nvme = await l1.plug("nvme", { drive: disk.path, serial: "conformance" });
    const subjects = [["edu", edu] as const, ["nvme", nvme] as const];
    for (const [, device] of subjects) await l1.bindVfio(device);
    const state = await hostState(l1);
    for (const [subject, device] of subjects) {
      const expected = softwareAnswers(subject).map((line) => asOlder(kernel, line));
      assert.deepEqual(await kernelAnswers(l1, subject, device), expected, subject);
    }
    assert.equal(await hostState(l1), state);
    await kernelIsWell(l1);
  });
}
