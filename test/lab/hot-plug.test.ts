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

const READ_BYTES = 4 * 65536;
const DEVICES = 4;
/** `VIADUCT_HOT_PLUG_CYCLES=200` runs as many cycles as are promised; fewer show the same. */
const CYCLES = Number(process.env["VIADUCT_HOT_PLUG_CYCLES"] ?? 8);

let l1: L1;
let disks: ScratchDisk[];
let devices: string[];

before(async () => {
  l1 = await L1.start({ memoryMib: 2048, cpus: 2 });
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

async function guestOptions(name: KernelName, ...drivers: string[]) {
  const { bzImage, ...rest } = await kernel(name);
  const initrd = await guestInitrd({ bzImage, ...rest }, { drivers, script: COMMANDED });
  return { bzImage, initrd, append: GUEST_PARAMETERS, memory: "256M" };
}

/** Runs a program inside L1. @returns what it printed */
async function inside(program: string, request: unknown, timeoutMs: number): Promise<string> {
  const path = resolve(import.meta.dirname, program);
  const { status, stdout, stderr } = await l1.run(["node", path, JSON.stringify(request)], {
    timeoutMs,
  });
  assert.equal(status, 0, stdout.slice(-3000) + stderr);
  return stdout;
}

test(`${CYCLES} cycles of real disks and a removal by the host leave nothing behind`, async () => {
  const state = await hostState(l1);
  const rounds = Math.ceil(CYCLES / DEVICES);
  const request: HotPlugRequest = { guest: await guestOptions("lab", "nvme"), devices, rounds };
  const printed = (await inside("hot-plug-inside.js", request, 550_000)).trim().split("\n");
  const all = printed.map((line) => JSON.parse(line) as { what: string; value: unknown });
  const of = (what: string) => all.filter((line) => line.what === what).map(({ value }) => value);
  assert.deepEqual(of("status"), [{ running: true, status: "running" }]);
  const sums = disks.map(({ path }) =>
    createHash("sha256").update(readFileSync(path).subarray(0, READ_BYTES)).digest("hex"),
  );
  const reads = of("read") as string[][];
  assert.equal(reads.flat().length, (rounds + 1) * DEVICES + 1);
  for (const read of reads) assert.deepEqual(read, sums.slice(0, read.length));
  assert.deepEqual(of("holdings after"), of("holdings before"));
  assert.deepEqual(of("removed"), [{ there: false }]);
  const stderr = String(of("stderr"));
  assert.match(stderr, /The host wants the device back: the guest was asked to let go of it/);
  assert.deepEqual([of("exit"), of("socket")], [[0], [false]]);
  await l1.bindVfio(devices[0]!);
  assert.equal(await hostState(l1), state);
  await kernelIsWell(l1);
});

test("a guest's ACPI sees the power button that system_powerdown presses", async () => {
  const options = await guestOptions("debian", "button");
  const printed = await inside("power-button-inside.js", options, 300_000);
  assert.deepEqual(JSON.parse(printed), { before: 0, after: 1, status: 0, events: ["powerdown"] });
});
