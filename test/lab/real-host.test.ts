/**
 * The lab's tests on a machine that has KVM and devices of its own (VIADUCT_LAB=host): L1 plays
 * that machine, and the main job's test runs inside it.
 */

import assert from "node:assert/strict";
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { L1 } from "../../lab/l1.ts";

const DISKS_MIB = [256, 256, 16];

/** Empty: the inner test puts on them what it wants to find. */
async function plugDisks(l1: L1, folder: string): Promise<string[]> {
  const addresses: string[] = [];
  for (const [at, mib] of DISKS_MIB.entries()) {
    const path = join(folder, `disk${at}`);
    const fd = openSync(path, "w");
    ftruncateSync(fd, mib * 2 ** 20);
    closeSync(fd);
    addresses.push(await l1.plug("nvme", { drive: await l1.drive(path), serial: `disk${at}` }));
  }
  return addresses;
}

const limit = {
  timeout: 400_000,
  skip: process.env["VIADUCT_LAB"] === "host" && "it is about another host",
};

test(
  "VIADUCT_LAB=host: the main job's test passes with the host's own devices",
  limit,
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "viaduct-test-"));
    try {
      await using l1 = await L1.start({ memoryMib: 4096, cpus: 2 });
      const disks = await plugDisks(l1, folder);
      const driver = (bdf: string) =>
        l1.sh(`basename $(readlink /sys/bus/pci/devices/${bdf}/driver)`);
      const { status, stdout, stderr } = await l1.run(
        [
          ...["node", "--test", "--test-reporter=tap", "--test-name-pattern=^1 vCPU"],
          "dist/test/lab/assigned-device.test.js",
        ],
        {
          env: {
            VIADUCT_LAB: "host",
            VIADUCT_LAB_DEVICES: disks.map((bdf) => `nvme=${bdf}`).join(" "),
            VIADUCT_QUIET: "1",
          },
          timeoutMs: 300_000,
        },
      );
      assert.equal(status, 0, `${stdout}\n${stderr}`);
      assert.match(stdout, /^ok 1 - 1 vCPU: reads a 256 MiB NVMe disk whole/m);
      for (const bdf of disks) assert.equal(await driver(bdf), "nvme", "given back to its driver");
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);
