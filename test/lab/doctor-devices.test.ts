/**
 * The doctor's catalogue on a real kernel that is made to fail: DMA faults, resets and virtual
 * functions. Each test is named by the code's number.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { busybox } from "../../lab/busybox.ts";
import { guestInitrd } from "../../lab/guest.ts";
import { JOBS } from "../../lab/guest-jobs.ts";
import { kernel } from "../../lab/kernel.ts";
import { L1 } from "../../lab/l1.ts";
import { explains, finds, findsNone, qemuSays, shareGuest, viaduct } from "./doctor-in-l1.ts";
import { coldDevice, SLOTLESS_PORT } from "./l1-state.ts";

const limit = { timeout: 300_000 };

const DEVICES = [
  // More virtual functions than the port's 2 MiB have room for: 127 of 16 KiB beside 64 KiB.
  "nvme-subsys,id=many",
  "nvme,bus=rp6,subsys=many,serial=many,sriov_max_vfs=127,sriov_vq_flexible=254," +
    "sriov_vi_flexible=127,max_ioqpairs=256,msix_qsize=2048",
  // Of all resets only that of the bus, which its virtual function is on too.
  SLOTLESS_PORT.device,
  "virtio-net-pci,bus=slotless,addr=0x0.0x1,sriov-pf=pf,disable-legacy=on",
  "virtio-net-pci,bus=slotless,addr=0x0.0x0,id=pf,disable-legacy=on," +
    "x-pcie-flr-init=off,x-pcie-pm-no-soft-reset=on",
  // On the root bus, where no bus reset is possible.
  "edu,bus=pcie.0,addr=0x18",
];
const EDU = "0000:00:18.0";

/** QEMU's edu: source at 0x80, destination at 0x88, length at 0x90, command at 0x98. */
const STRAY_DMA = `
device=/sys/bus/pci/devices/${EDU}
echo 1 >$device/enable
printf '\\006' | dd of=$device/config bs=1 seek=4 conv=notrunc 2>/dev/null
bar=$(head -n 1 $device/resource | cut -d' ' -f1)
write() { BUSYBOX devmem $((bar + $1)) 32 $2; }
write 0x80 0x7000000; write 0x88 0x40000; write 0x90 4; write 0x98 1
for try in $(seq 100); do dmesg | grep -q 'fault addr' && exit 0; sleep 0.05; done
exit 1`;

let l1: L1;
let pf: string;
let cramped: string;
let igb: string;

const sysfs = (bdf: string) => `/sys/bus/pci/devices/${bdf}`;

before(async () => {
  const lab = await kernel("lab");
  // Linux would else move the firmware's windows until all fits.
  l1 = await L1.start({ devices: DEVICES, parameters: "pci=realloc=off" });
  pf = await coldDevice(l1, SLOTLESS_PORT.address);
  cramped = await coldDevice(l1, "0000:00:16.0");
  igb = await l1.plug("igb");
  await shareGuest(l1, lab, await guestInitrd(lab, JOBS.boot));
}, limit);

after(async () => {
  await l1?.[Symbol.asyncDispose]();
});

test("44 IOMMU_FAULT: a device's DMA to an address that nobody mapped", limit, async () => {
  await findsNone(l1, ["IOMMU_FAULT"], [EDU]);
  await l1.sh(STRAY_DMA.replace("BUSYBOX", await busybox()));
  const { detail } = await finds(l1, "IOMMU_FAULT", [EDU]);
  assert.match(detail, /fault addr 0x7000000/);
  explains(await l1.sh("dmesg | grep 'fault addr'"), "IOMMU_FAULT");
  await findsNone(l1, ["IOMMU_FAULT"], [pf]);
});

test("24 NO_RESET: a function on the root bus without a reset of its own", limit, async () => {
  assert.equal((await viaduct(l1, ["bind", EDU])).status, 0);
  await finds(l1, "NO_RESET", [EDU]);
  explains(await qemuSays(l1, EDU, "Cannot reset"), "NO_RESET");
  const reset = await viaduct(l1, ["reset", EDU]);
  assert.equal(reset.status, 1);
  explains(reset.stderr, "NO_RESET");
  await findsNone(l1, ["NO_RESET"], [pf]);
});

test(
  "25 RESET_NEEDS_GROUP: a bus reset would hit functions of groups that are not owned",
  limit,
  async () => {
    assert.equal((await viaduct(l1, ["bind", pf])).status, 0);
    await findsNone(l1, ["RESET_NEEDS_GROUP"], [pf]);
    await l1.sh("echo 1 >/sys/module/vfio_pci/parameters/enable_sriov");
    const made = await viaduct(l1, ["sriov", pf, "--num", "1"]);
    assert.equal(made.status, 0, made.stderr);
    await finds(l1, "RESET_NEEDS_GROUP", [pf]);
    explains(await qemuSays(l1, pf, "Cannot reset"), "RESET_NEEDS_GROUP");
    assert.equal((await viaduct(l1, ["sriov", pf, "--num", "0"])).status, 0);
  },
);

test("45 SRIOV_NO_MMIO: the port's window has no room for the functions' BARs", limit, async () => {
  await findsNone(l1, ["SRIOV_NO_MMIO"], [igb]);
  await finds(l1, "SRIOV_NO_MMIO", [cramped]);
  const refused = await viaduct(l1, ["sriov", cramped, "--num", "2"]);
  assert.equal(refused.status, 1, refused.stderr);
  explains(refused.stderr, "SRIOV_NO_MMIO");
  explains(await l1.sh(`dmesg | grep '${cramped}: not enough MMIO'`), "SRIOV_NO_MMIO");
  const typed = await l1.shell(`/bin/echo 2 >${sysfs(cramped)}/sriov_numvfs`);
  explains(typed.stderr, "SRIOV_NO_MMIO");
});

test(
  "46 SRIOV_BAD_COUNT: more functions than there are, and a change while there are some",
  limit,
  async () => {
    await findsNone(l1, ["SRIOV_BAD_COUNT"], [igb]);
    assert.equal((await viaduct(l1, ["sriov", igb, "--num", "2"])).status, 0);
    const refused = await viaduct(l1, ["sriov", igb, "--num", "99"]);
    assert.equal(refused.status, 1, refused.stderr);
    explains(refused.stderr, "SRIOV_BAD_COUNT");
    const type = (count: number) => l1.shell(`/bin/echo ${count} >${sysfs(igb)}/sriov_numvfs`);
    explains((await type(99)).stderr, "SRIOV_BAD_COUNT");
    assert.match((await type(3)).stderr, /Device or resource busy/);
    explains(await l1.sh("dmesg | grep 'VFs already enabled'"), "SRIOV_BAD_COUNT");
    await finds(l1, "SRIOV_BAD_COUNT", [igb]);
    // By way of 0, as the kernel wants it.
    assert.equal((await viaduct(l1, ["sriov", igb, "--num", "3"])).status, 0);
    assert.equal(await l1.sh(`cat ${sysfs(igb)}/sriov_numvfs`), "3");
  },
);
