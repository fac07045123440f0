/**
 * A guest's own drivers on assigned devices, on a real kernel: traffic of network cards, with
 * message interrupts and with INTx by either way, a USB disk, DMA and interrupts of `edu`, and a
 * VGA card's ROM. (NVMe: assigned-device.test.ts; AHCI: device-kinds.test.ts.)
 */

import assert from "node:assert/strict";
import { resolve } from "node:path";
import { after, before, test } from "node:test";
import { GUEST_PARAMETERS, type GuestJob, guestInitrd } from "../../lab/guest.ts";
import { type GuestRun, runViaduct, said } from "../../lab/guest-run.ts";
import { type Kernel, kernel } from "../../lab/kernel.ts";
import { L1 } from "../../lab/l1.ts";
import { compiledProgram } from "../../lab/programs.ts";
import { ScratchDisk } from "../../lab/scratch-disk.ts";
import { TcpPeer } from "../../lab/tcp-peer.ts";
import { interrupts } from "./device-jobs.ts";
import { EDU, ROM_SUM, trafficJob, USB_DISK, VGA_ROM } from "./driver-jobs.ts";
import { coldDevice, hostState, interfaceOf, kernelIsWell, plugNetworkCard } from "./l1-state.ts";

const limit = { timeout: 600_000 };
/** `VIADUCT_DRIVER_MIB=100` sends as much as is promised; less shows the same. */
const MIB = Number(process.env["VIADUCT_DRIVER_MIB"] ?? 10);
const UP_MIB = 4;
/** Each byte of a card without message interrupts costs more. */
const INTX_MIB = Math.ceil(MIB / 10);
/** Root ports of L1 with what cannot be hot-plugged. */
const USB_PORT = "0000:00:16.0";
const VGA_PORT = "0000:00:17.0";

let lab: Kernel;
let l1: L1;
let stick: ScratchDisk;

before(async () => {
  lab = await kernel("lab");
  stick = new ScratchDisk(4);
  l1 = await L1.start({
    // A guest that reads a ROM can end on the lab's: docs/lab.md, "Emulated SVM".
    kernel: "debian",
    devices: [...["qemu-xhci,id=usb,bus=rp6", "usb-storage,bus=usb.0,drive=stick"], "VGA,bus=rp7"],
    extraArgs: ["-drive", `if=none,id=stick,file=${stick.path},format=raw,snapshot=on`],
  });
}, limit);

after(async () => {
  await l1?.[Symbol.asyncDispose]();
  stick?.[Symbol.dispose]();
});

async function guest(on: L1, job: GuestJob, ...devices: string[]): Promise<GuestRun> {
  const run = await runViaduct(on, {
    bzImage: lab.bzImage,
    initrd: await guestInitrd(lab, job),
    append: `${GUEST_PARAMETERS} iomem=relaxed`,
    memory: "256M",
    devices: devices.map((device) => `vfio-pci,host=${device}`),
    timeoutMs: 300_000,
  });
  assert.equal(run.status, 0, run.console + run.stderr);
  return run;
}

/** Pings, receives some MiB and sends a few, both with their sums; the host is then as before. */
async function traffic(
  on: L1,
  card: string,
  { mib = INTX_MIB, chip = "IO-APIC", driver }: { mib?: number; chip?: string; driver: string },
): Promise<void> {
  await using peer = await TcpPeer.start(mib);
  const state = await hostState(on);
  const run = await guest(on, { script: trafficJob(peer, UP_MIB) }, card);
  assert.equal(said(run, "driver"), driver);
  assert.equal(said(run, "received"), "5 packets received", run.console);
  assert.equal(said(run, "down"), peer.sha256, run.console);
  assert.deepEqual(peer.taken, [said(run, "up-sum")]);
  assert.ok(interrupts(run, "after", chip) > 100, run.console);
  assert.equal(await hostState(on), state);
}

test(`e1000e: ${MIB} MiB come in over TCP, ${UP_MIB} go out, by MSI-X`, limit, async () => {
  const card = await plugNetworkCard(l1, "e1000e");
  await l1.bindVfio(card);
  await traffic(l1, card, { mib: MIB, chip: "PCI-MSIX", driver: "e1000e" });
  await l1.unplug(card);
});

test(
  "rtl8139: INTx under load, signalled in the kernel and through this process",
  limit,
  async () => {
    const card = await plugNetworkCard(l1, "rtl8139");
    await l1.bindVfio(card);
    await traffic(l1, card, { driver: "8139cp" });
    await traffic(l1, `${card},x-no-kvm-intx=on`, { driver: "8139cp" });
    await l1.unplug(card);
  },
);

test("a virtual function of igb, beside the driver of its physical one", limit, async () => {
  await using host = await L1.start();
  const pf = await plugNetworkCard(host, "igb");
  const port = await interfaceOf(host, pf);
  const vf = await host.sh(`
    ip link set ${port} up
    echo 1 >/sys/bus/pci/devices/${pf}/sriov_numvfs
    ip link set ${port} vf 0 trust on
    ip link set ${port} vf 0 spoofchk off
    basename $(readlink /sys/bus/pci/devices/${pf}/virtfn0)`);
  await host.bindVfio(vf);
  await traffic(host, vf, { mib: MIB, chip: "PCI-MSIX", driver: "igbvf" });
  await kernelIsWell(host);
});

test("a USB disk behind xhci, DMA of edu, and the ROM of a VGA card", limit, async () => {
  const usb = await coldDevice(l1, USB_PORT);
  const vga = await coldDevice(l1, VGA_PORT);
  const edu = await l1.plug("edu");
  const rom = await l1.sh(`${ROM_SUM} rom_sum /sys/bus/pci/devices/${vga}`);
  await l1.bindVfio(usb, edu, vga);
  const state = await hostState(l1);
  const driver = await compiledProgram(resolve("test/lab/edu-driver.c"));
  const script = `${USB_DISK}${EDU}${VGA_ROM}`;
  const run = await guest(l1, { script, programs: [driver] }, usb, edu, vga);
  assert.match(said(run, "path"), /\/usb\d\//);
  assert.equal(said(run, "sha256"), stick.sha256);
  assert.ok(interrupts(run, "after", "PCI-MSIX") > 10, run.console);
  assert.equal(said(run, "rom"), rom);
  assert.equal(said(run, "edu factorial"), "3628800", run.console);
  assert.equal(said(run, "edu interrupt"), "0x5a");
  assert.equal(said(run, "edu dma"), "equal");
  assert.equal(await hostState(l1), state);
});

test("L1's kernel is well after all of it", limit, () => kernelIsWell(l1));
