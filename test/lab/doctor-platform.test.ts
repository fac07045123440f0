/** The doctor's catalogue on a host that cannot assign a device at all. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { guestInitrd } from "../../lab/guest.ts";
import { JOBS } from "../../lab/guest-jobs.ts";
import { kernel } from "../../lab/kernel.ts";
import { L1 } from "../../lab/l1.ts";
import { explains, finds, qemuWith, shareGuest, startWith } from "./doctor-in-l1.ts";

const limit = { timeout: 300_000 };

test("1 IOMMU_FIRMWARE_OFF: no IOMMU, no group, no start", limit, async () => {
  await using l1 = await L1.start({ iommu: "none", memoryMib: 1024 });
  const lab = await kernel("lab");
  await shareGuest(l1, lab, await guestInitrd(lab, JOBS.boot));
  await l1.sh("echo 0 >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
  const device = await l1.plug("e1000");
  const { evidence } = await finds(l1, "IOMMU_FIRMWARE_OFF", [device]);
  assert.ok(evidence.every(({ value }) => !/DMAR|IVRS/.test(value)));
  const start = await startWith(l1, device);
  assert.equal(start.status, 5, start.stderr);
  explains(start.stderr, "IOMMU_FIRMWARE_OFF");
  explains((await qemuWith(l1, device)).stderr, "IOMMU_FIRMWARE_OFF");
});
