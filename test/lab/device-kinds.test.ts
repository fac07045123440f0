/**
 * Devices of several kinds, one or two at a time, on real kernels: with INTx only, with MSI, with
 * MSI-X; and two guests beside each other. Their drivers under load: drivers.test.ts.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { GUEST_PARAMETERS, type GuestJob, guestInitrd } from "../../lab/guest.ts";
import { JOBS } from "../../lab/guest-jobs.ts";
import { type GuestRun, runViaduct, said } from "../../lab/guest-run.ts";
import { type Kernel, kernel } from "../../lab/kernel.ts";
import { L1 } from "../../lab/l1.ts";
import { ScratchDisk } from "../../lab/scratch-disk.ts";
import { DEVICE_JOBS, interrupts } from "./device-jobs.ts";
import { coldDevice, hostState, kernelIsWell, plugNetworkCard } from "./l1-state.ts";

const limit = { timeout: 600_000 };
/** The last root port of L1: what cannot be hot-plugged sits below it. */
const LAST_PORT = "0000:00:17.0";

let lab: Kernel;
let l1: L1;
let disk: ScratchDisk;
let ahci: string;
let nvme: string;

before(async () => {
  lab = await kernel("lab");
  disk = new ScratchDisk(16);
  l1 = await L1.start({
    cpus: 2,
    devices: ["ich9-ahci,id=sata,bus=rp7", "ide-hd,bus=sata.0,drive=platter"],
    extraArgs: ["-drive", `if=none,id=platter,file=${disk.path},format=raw,snapshot=on`],
  });
  ahci = await coldDevice(l1, LAST_PORT);
  nvme = await l1.plug("nvme", { drive: disk.path, serial: "viaduct" });
  await l1.bindVfio(ahci, nvme);
});

after(async () => {
  await l1?.[Symbol.asyncDispose]();
  disk?.[Symbol.dispose]();
});

async function guest(job: GuestJob, ...devices: string[]): Promise<GuestRun> {
  const run = await runViaduct(l1, {
    bzImage: lab.bzImage,
    initrd: await guestInitrd(lab, job),
    append: GUEST_PARAMETERS,
    memory: "256M",
    devices: devices.map((device) => `vfio-pci,host=${device}`),
  });
  assert.equal(run.status, 0, run.console + run.stderr);
  return run;
}

function spoke(run: GuestRun, chip: string): void {
  assert.equal(said(run, "received"), "5 packets received", run.console);
  const grown = interrupts(run, "after", chip) - interrupts(run, "before", chip);
  assert.ok(grown >= 5, `${grown} interrupts for 5 packets\n${run.console}`);
}

test("e1000 speaks by INTx, signalled in the kernel and through this process", limit, async () => {
  const card = await plugNetworkCard(l1, "e1000");
  await l1.bindVfio(card);
  const state = await hostState(l1);
  spoke(await guest(DEVICE_JOBS.network, card), "IO-APIC");
  spoke(await guest(DEVICE_JOBS.network, `${card},x-no-kvm-intx=on`), "IO-APIC");
  assert.equal(await hostState(l1), state);
  await l1.unplug(card);
});

test("AHCI reads its disk by MSI", limit, async () => {
  const run = await guest(DEVICE_JOBS.sata, ahci);
  assert.equal(said(run, "sha256"), disk.sha256);
  assert.ok(interrupts(run, "after", "PCI-MSI") >= 5, run.console);
});

test("one guest uses two devices; two guests use one each at once", limit, async () => {
  const card = await plugNetworkCard(l1, "e1000e");
  await l1.bindVfio(card);
  const state = await hostState(l1);
  const both = await guest(DEVICE_JOBS.diskAndNetwork, nvme, card);
  assert.equal(said(both, "readback"), "equal");
  spoke(both, "PCI-MSIX");
  const [reader, speaker] = await Promise.all([
    guest(JOBS.nvmeQuick, nvme),
    guest(DEVICE_JOBS.network, card),
  ]);
  assert.equal(said(reader, "readback"), "equal");
  spoke(speaker, "PCI-MSIX");
  assert.equal(await hostState(l1), state);
  await l1.unplug(card);
});

test("L1's kernel is well after all of it", limit, () => kernelIsWell(l1));
