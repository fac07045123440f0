/**
 * A guest of Viaduct sees the devices it was given as a guest of QEMU does: `lspci -vvv -xxxx -nn`,
 * `/proc/iomem` and `/proc/interrupts`, before and after the drivers are loaded, differ in nothing
 * but what parity-allowed.ts lists. The chipsets themselves are not compared.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { GUEST_PARAMETERS, guestInitrd } from "../../lab/guest.ts";
import { type GuestRun, runQemu, runViaduct } from "../../lab/guest-run.ts";
import { type Kernel, kernel } from "../../lab/kernel.ts";
import type { L1 } from "../../lab/l1.ts";
import { ScratchDisk } from "../../lab/scratch-disk.ts";
import { kernelIsWell } from "./l1-state.ts";
import { ALLOWED } from "./parity-allowed.ts";
import { differences } from "./parity-differences.ts";
import { MOMENTS, type Moment, parityJob, viewAt } from "./parity-guest.ts";
import { functionsOf, parityLines } from "./parity-lines.ts";
import { assign, type ParityGuest, startL1 } from "./parity-machines.ts";

const limit = { timeout: 900_000 };
const GUEST_COUNT = 2;
/** In L1: one byte 0. */
const ZERO = "/tmp/zero";
/**
 * The firmware does not run option ROMs, which takes minutes under emulation, and root ports have
 * the hot-plug of PCI Express, as Viaduct's do.
 */
const QEMU_EXTRA = [
  ...["-fw_cfg", `name=etc/pci-optionrom-exec,file=${ZERO}`],
  ...["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"],
];
/** What is there without `-device`. */
const CHIPSET = /^0000:00:(?:00\.0|1f\.\d)$/;
const RUNNERS = { viaduct: runViaduct, qemu: runQemu };
type Monitor = keyof typeof RUNNERS;

let l1: L1;
let disk: ScratchDisk;
let debian: Kernel;
let guests: ParityGuest[];
const runs: Array<Record<Monitor, GuestRun>> = [];
const used = new Set<RegExp>();

async function run(monitor: Monitor, { devices, drivers }: ParityGuest): Promise<GuestRun> {
  const result = await RUNNERS[monitor](l1, {
    bzImage: debian.bzImage,
    initrd: await guestInitrd(debian, await parityJob(drivers)),
    append: GUEST_PARAMETERS,
    devices,
    extra: monitor === "qemu" ? QEMU_EXTRA : [],
  });
  assert.equal(result.status, 0, `${monitor}\n${result.console}${result.stderr}`);
  return result;
}

before(async () => {
  disk = new ScratchDisk(1);
  l1 = await startL1(disk.path);
  guests = await assign(l1);
  debian = await kernel("debian");
  await l1.sh(`printf '\\0' >${ZERO}`);
  // A guest under each at once: what they are given differs.
  const both = (ours: ParityGuest, theirs: ParityGuest) =>
    Promise.all([run("viaduct", ours), run("qemu", theirs)]);
  const [first, second] = guests as [ParityGuest, ParityGuest];
  const [ours1, theirs2] = await both(first, second);
  const [ours2, theirs1] = await both(second, first);
  runs.push({ viaduct: ours1, qemu: theirs1 }, { viaduct: ours2, qemu: theirs2 });
}, limit);

after(async () => {
  await l1?.[Symbol.asyncDispose]();
  disk?.[Symbol.dispose]();
});

/** The lines of both about what was given to them, which is in the same places. */
function linesOf(index: number, moment: Moment): Record<Monitor, string[]> {
  const views = {
    viaduct: viewAt(runs[index]!.viaduct, moment),
    qemu: viewAt(runs[index]!.qemu, moment),
  };
  const given = (monitor: Monitor) =>
    functionsOf(views[monitor].lspci)
      .map(({ address }) => address)
      .filter((address) => !CHIPSET.test(address));
  assert.deepEqual(given("viaduct"), given("qemu"));
  assert.equal(given("viaduct").length, guests[index]!.devices.length);
  const addresses = new Set(given("viaduct"));
  return {
    viaduct: parityLines(moment, views.viaduct, addresses),
    qemu: parityLines(moment, views.qemu, addresses),
  };
}

for (let index = 0; index < GUEST_COUNT; index++) {
  test(`guest ${index + 1} sees under Viaduct what it sees under QEMU`, limit, (context) => {
    context.diagnostic(guests[index]!.name);
    for (const moment of MOMENTS) {
      const { viaduct, qemu } = linesOf(index, moment);
      const found = differences(viaduct, qemu, ALLOWED);
      for (const pattern of found.used) used.add(pattern);
      assert.deepEqual(found.left, [], `"-" is Viaduct, "+" is QEMU:\n${found.left.join("\n")}`);
    }
  });
}

test("each allowed difference is there", () => {
  for (const { patterns, reason } of ALLOWED)
    for (const pattern of patterns) assert.ok(used.has(pattern), `${pattern}: ${reason}`);
});

test("one bit of one register is a difference that is not allowed", () => {
  const { viaduct, qemu } = linesOf(0, "driven");
  const changed = viaduct.map((line) => line.replace(/(cap 11\+04 = 0000[0-9a-f]{3})0$/, "$11"));
  assert.notDeepEqual(changed, viaduct);
  assert.notEqual(differences(changed, qemu, ALLOWED).left.length, 0);
});

test("L1's kernel is well after all of it", limit, async () => {
  await kernelIsWell(l1);
});
