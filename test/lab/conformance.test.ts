/**
 * The software host answers as kernels do: one program of right and wrong ioctls, run on it and on
 * the real VFIO of the lab kernel and of the stock Debian one, for a device with INTx.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { KernelName } from "../../lab/kernel.ts";
import { L1 } from "../../lab/l1.ts";
import { conformanceProgram } from "../../src/sim/conformance.ts";
import { eduSpec } from "../../src/sim/devices/edu.ts";
import { SoftwareHost } from "../../src/sim/host.ts";
import { nativeSyscalls } from "../../src/sys/native.ts";
import { hostState, kernelIsWell } from "./l1-state.ts";

const program = join(import.meta.dirname, "conformance-inside.js");

function softwareAnswers(): string[] {
  using host = new SoftwareHost(nativeSyscalls());
  host.addDevice(eduSpec("0000:01:00.0"), 3);
  return conformanceProgram(host, 3, "0000:01:00.0");
}

async function kernelAnswers(name: KernelName): Promise<string[]> {
  await using l1 = await L1.start({ kernel: name });
  const edu = await l1.plug("edu");
  await l1.bindVfio(edu);
  const group = await l1.sh(`basename $(readlink /sys/bus/pci/devices/${edu}/iommu_group)`);
  const state = await hostState(l1);
  const { status, stdout, stderr } = await l1.run(["node", program, group, edu]);
  assert.equal(status, 0, stderr);
  assert.equal(await hostState(l1), state);
  await kernelIsWell(l1);
  return stdout.trimEnd().split("\n");
}

/** Where an older kernel answers otherwise; the software host is as the newest. */
const OLDER: Readonly<Record<KernelName, ReadonlyMap<string, string>>> = {
  lab: new Map(),
  debian: new Map([["MAP_DMA past the end: EOVERFLOW", "MAP_DMA past the end: EINVAL"]]),
};

for (const name of ["lab", "debian"] as const) {
  test(`the software host answers as the ${name} kernel`, { timeout: 180_000 }, async () => {
    const expected = softwareAnswers().map((line) => OLDER[name].get(line) ?? line);
    assert.deepEqual(await kernelAnswers(name), expected);
  });
}
