/**
 * Hot-plug on real kernels: NVMe disks of L1 come and go in the slots of a running Linux guest by
 * `device_add` and `device_del`, and by the host taking one away.
 */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { after, before, test } from "node:test";
import { GUEST_PARAMETERS, guestInitrd } from "../../lab/guest.ts";
import { type KernelName, kernel } from "../../lab/kernel.ts";
import { L1 } from "../../lab/l1.ts";
import { ScratchDisk } from "../../lab/scratch-disk.ts";
import { COMMANDED } from "./controlled-guest.ts";
import type { HotPlugRequest } from "./hot-plug-inside.ts";
import { hostState, kernelIsWell } from "./l1-state.ts";

const INSIDE = resolve(import.meta.dirname, "hot-plug-inside.js");
const READ_BYTES = 4 * 65536;
const DEVICES = 4;
/** `VIADUCT_HOT_PLUG_CYCLES=200` runs as many cycles as are promised; fewer show the same. */
const CYCLES = Number(process.env["VIADUCT_HOT_PLUG_CYCLES"] ?? 40);
const KERNEL = (process.env["VIADUCT_HOT_PLUG_KERNEL"] ?? "lab") as KernelName;

let l1: L1;
let disks: ScratchDisk[];
let devices: string[];

before(async () => {
  l1 = await L1.start({ memoryMib: 3072, cpus: 2, kernel: KERNEL });
  disks = [];
  devices = [];
  for (let at = 0; at < DEVICES; at++) {
    const disk = new ScratchDisk(1);
    disks.push(disk);
    devices.push(await l1.plug("nvme", { drive: disk.path, serial: `disk${at}` }));
  }
  await l1.bindVfio(...devices);
});

after(async () => {
  await l1?.[Symbol.asyncDispose]();
  for (const disk of disks ?? []) disk[Symbol.dispose]();
});

test(`${CYCLES} cycles of real disks, a removal by the host, the power button`, async () => {
  const lab = await kernel(KERNEL);
  const state = await hostState(l1);
  const request: HotPlugRequest = {
    guest: {
      bzImage: lab.bzImage,
      initrd: await guestInitrd(lab, { drivers: ["nvme"], script: COMMANDED }),
      append: GUEST_PARAMETERS,
      memory: "256M",
    },
    devices,
    rounds: Math.ceil(CYCLES / DEVICES),
  };
  const result = await l1.run(["node", INSIDE, JSON.stringify(request)], { timeoutMs: 550_000 });
  assert.equal(result.status, 0, result.stdout.slice(-3000) + result.stderr);
  const seen = result.stdout.trim().split("\n");
  const all = seen.map((line) => JSON.parse(line) as { what: string; value: unknown });
  const of = (what: string) => all.filter((line) => line.what === what).map(({ value }) => value);
  console.log(result.stdout);
  assert.deepEqual(of("status"), [{ running: true, status: "running" }]);
  const sums = disks.map(({ path }) =>
    createHash("sha256").update(readFileSync(path).subarray(0, READ_BYTES)).digest("hex"),
  );
  const reads = of("read") as string[][];
  assert.equal(reads.flat().length, (request.rounds + 1) * DEVICES + 1);
  for (const read of reads) assert.deepEqual(read, sums.slice(0, read.length));
  assert.deepEqual(of("holdings after"), of("holdings before"));
  assert.deepEqual(of("removed"), [{ there: false }]);
  assert.match(String(of("button before")), /^0 /);
  assert.match(String(of("button after")), /^1 /);
  assert.deepEqual([of("exit"), of("socket")], [[0], [false]]);
  await l1.bindVfio(devices[0]!);
  assert.equal(await hostState(l1), state);
  await kernelIsWell(l1);
});
