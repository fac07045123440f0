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
import { type LinuxVersion, softwareHostWith, softwarePlace } from "../conformance/subjects.ts";
import { runConformance, type SubjectName } from "../conformance/suite.ts";
import { hostState, kernelIsWell } from "./l1-state.ts";

const program = join(import.meta.dirname, "conformance-inside.js");

const VERSIONS: Readonly<Record<KernelName, LinuxVersion>> = { lab: "7.3", debian: "6.12" };

function softwareAnswers(subject: SubjectName, kernel: KernelName): string[] {
  using host = softwareHostWith(subject, VERSIONS[kernel]);
  return runConformance(host, softwarePlace(subject));
}

async function kernelAnswers(l1: L1, subject: SubjectName, device: string): Promise<string[]> {
  await l1.bindVfio(device);
  const group = await l1.sh(`basename $(readlink /sys/bus/pci/devices/${device}/iommu_group)`);
  const { status, stdout, stderr } = await l1.run(["node", program, subject, group, device]);
  assert.equal(status, 0, stderr);
  return stdout.trimEnd().split("\n");
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
      const expected = softwareAnswers(subject, kernel);
      assert.deepEqual(await kernelAnswers(l1, subject, device), expected, subject);
    }
    assert.equal(await hostState(l1), state);
    await kernelIsWell(l1);
  });
}
