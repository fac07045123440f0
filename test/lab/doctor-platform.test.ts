/** The doctor's catalogue on hosts that cannot assign a device at all: no IOMMU, no VFIO. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { busybox } from "../../lab/busybox.ts";
import { guestInitrd } from "../../lab/guest.ts";
import { JOBS } from "../../lab/guest-jobs.ts";
import { type KernelName, kernel } from "../../lab/kernel.ts";
import { L1 } from "../../lab/l1.ts";
import {
  explains,
  finds,
  findsNone,
  mentions,
  qemuWith,
  shareGuest,
  startWith,
} from "./doctor-in-l1.ts";

const limit = { timeout: 300_000 };

async function prepare(l1: L1, name: KernelName): Promise<void> {
  const used = await kernel(name);
  await shareGuest(l1, used, await guestInitrd(used, JOBS.boot));
}

test("1 IOMMU_FIRMWARE_OFF: no IOMMU, no group, no start", limit, async () => {
  await using l1 = await L1.start({ iommu: "none", memoryMib: 1024 });
  await prepare(l1, "lab");
  await l1.sh("echo 0 >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
  const device = await l1.plug("e1000");
  const { evidence } = await finds(l1, "IOMMU_FIRMWARE_OFF", [device]);
  assert.ok(evidence.every(({ value }) => !/DMAR|IVRS/.test(value)));
  const start = await startWith(l1, device);
  assert.equal(start.status, 5, start.stderr);
  explains(start.stderr, "IOMMU_FIRMWARE_OFF");
  explains((await qemuWith(l1, device)).stderr, "IOMMU_FIRMWARE_OFF");
});

test("7 VFIO_MISSING: the modules are not loaded", limit, async () => {
  await using l1 = await L1.start({ kernel: "debian" });
  await prepare(l1, "debian");
  const device = await l1.plug("e1000");
  await findsNone(l1, ["VFIO_MISSING", "IOMMU_FIRMWARE_OFF"], [device]);
  // The list begins with what was loaded last: users come before what they use.
  await l1.sh(`for module in $(cut -d ' ' -f 1 /proc/modules | grep -E 'vfio|mdev'); do
      ${await busybox()} rmmod $module
    done
    test ! -e /dev/vfio/vfio`);
  await finds(l1, "VFIO_MISSING", [device]);
  const start = await startWith(l1, device);
  assert.equal(start.status, 5, start.stderr);
  explains(start.stderr, "VFIO_MISSING");
  mentions((await qemuWith(l1, device)).stderr, "VFIO_MISSING");
});
