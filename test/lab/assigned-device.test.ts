/**
 * The main job on real kernels: a guest uses a device assigned to it through the real VFIO. Each
 * test hot-plugs its device into L1, binds it to vfio-pci and boots a small guest.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { GUEST_PARAMETERS, guestInitrd, guestLines } from "../../lab/guest.ts";
import { JOBS } from "../../lab/guest-jobs.ts";
import { type GuestRun, runViaduct, said, viaductCommand } from "../../lab/guest-run.ts";
import { type Kernel, kernel } from "../../lab/kernel.ts";
import { L1 } from "../../lab/l1.ts";
import { quote } from "../../lab/quote.ts";
import { ScratchDisk } from "../../lab/scratch-disk.ts";

const limit = { timeout: 600_000 };

let lab: Kernel;
let l1: L1;
/** One disk for each test that writes to it first. */
let disks: ScratchDisk[];
let nvmes: string[];
let nvme: string;

before(async () => {
  lab = await kernel("lab");
  l1 = await L1.start({ memoryMib: 3072, cpus: 2 });
  disks = [new ScratchDisk(256), new ScratchDisk(256), new ScratchDisk(16)];
  nvmes = [];
  for (const disk of disks) {
    const drive = await l1.drive(disk.path);
    nvmes.push(await l1.plug("nvme", { drive, serial: "viaduct" }));
  }
  await l1.bindVfio(...nvmes);
  nvme = nvmes.at(-1)!;
});

after(async () => {
  await l1?.[Symbol.asyncDispose]();
  for (const disk of disks ?? []) disk[Symbol.dispose]();
});

/**
 * Nothing of an ended run is left in L1: no process, no open group, the driver binding as it was.
 */
async function nothingLeft(bdf: string): Promise<void> {
  assert.equal(await l1.sh("pgrep -f '[v]iaduct.js' || true"), "");
  assert.equal(await l1.sh("ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c /dev/vfio/ || true"), "0");
  const driver = await l1.sh(`basename $(readlink /sys/bus/pci/devices/${bdf}/driver)`);
  assert.equal(driver, "vfio-pci");
}

function vectorsCounted(run: GuestRun, name: string): number {
  const lines = run.lines.filter((line) => line.startsWith("irq ") && line.includes(name));
  assert.ok(lines.length > 0, `no interrupt line of ${name}\n${run.console}`);
  return lines
    .filter((line) => line.includes("PCI-MSIX"))
    .flatMap((line) => line.replace(/^irq \d+:/, "").match(/\d+(?=\s)/g) ?? [])
    .reduce((sum, count) => sum + Number(count), 0);
}

for (const [index, cpus] of [1, 4].entries()) {
  test(`${cpus} vCPU: reads a 256 MiB NVMe disk whole, writes and reads back`, limit, async () => {
    const run = await runViaduct(l1, {
      bzImage: lab.bzImage,
      initrd: await guestInitrd(lab, JOBS.nvme),
      append: GUEST_PARAMETERS,
      cpus,
      devices: ["pcie-root-port,id=rp0,chassis=1", `vfio-pci,host=${nvmes[index]},bus=rp0`],
    });
    assert.equal(run.status, 0, run.stderr);
    assert.equal(said(run, "cpus"), String(cpus));
    assert.equal(said(run, "sha256"), disks[index]!.sha256);
    assert.equal(said(run, "readback"), "equal");
    assert.ok(vectorsCounted(run, "nvme0q") > 100, run.console);
    await nothingLeft(nvmes[index]!);
  });
}

test("on the root bus, with a split irqchip, the disk reads the same", limit, async () => {
  const run = await runViaduct(l1, {
    bzImage: lab.bzImage,
    initrd: await guestInitrd(lab, JOBS.nvmeQuick),
    append: GUEST_PARAMETERS,
    devices: [`vfio-pci,host=${nvme}`],
    extra: ["--irqchip", "split"],
    timeoutMs: 45_000,
  });
  assert.equal(run.status, 0, run.stderr);
  assert.equal(said(run, "readback"), "equal");
  await nothingLeft(nvme);
});

test("a reboot starts the guest again, and --no-reboot ends it with status 0", limit, async () => {
  const reboot = {
    bzImage: lab.bzImage,
    initrd: await guestInitrd(lab, JOBS.rebootOnce),
    append: GUEST_PARAMETERS,
    devices: [`vfio-pci,host=${nvme}`],
  };
  const restarted = await runViaduct(l1, reboot);
  assert.equal(restarted.status, 0, restarted.stderr);
  const boots = restarted.lines.filter((line) => line.startsWith("up after"));
  assert.equal(boots.length, 2, restarted.console);
  const initrd = await guestInitrd(lab, JOBS.reboot);
  const ended = await runViaduct(l1, { ...reboot, initrd, extra: ["--no-reboot"] });
  assert.equal(ended.status, 0, ended.stderr);
  assert.equal(ended.lines.filter((line) => line.startsWith("up after")).length, 1);
  await nothingLeft(nvme);
});

test("a triple fault with --no-reboot ends with status 6", limit, async () => {
  const run = await runViaduct(l1, {
    bzImage: lab.bzImage,
    initrd: await guestInitrd(lab, JOBS.tripleFault),
    append: `${GUEST_PARAMETERS} reboot=t`,
    devices: [`vfio-pci,host=${nvme}`],
    extra: ["--no-reboot"],
  });
  assert.equal(run.status, 6, run.console + run.stderr);
  await nothingLeft(nvme);
});

test("the console takes what is typed", limit, async () => {
  const command = viaductCommand({
    bzImage: lab.bzImage,
    initrd: await guestInitrd(lab, JOBS.readLine),
    append: GUEST_PARAMETERS,
  });
  // Typed when the guest asks, as a person would: what comes before is lost in any serial port.
  const { status, stdout, stderr } = await l1.shell(`
    cd /tmp && rm -f typed out && mkfifo typed && exec 7<>typed
    ${command.map(quote).join(" ")} <typed >out 2>err &
    while kill -0 $! && ! grep -q "guest: ready" out; do sleep 0.1; done
    echo "typed by a person" >&7
    wait $!; status=$?; cat out; cat err >&2; exit $status`);
  assert.equal(status, 0, stderr);
  assert.ok(guestLines(stdout).includes("heard typed by a person"), stdout);
});
