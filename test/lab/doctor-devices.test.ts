/**
 * The doctor's catalogue on a real kernel that is made to fail: DMA faults and resets. Each test is
 * named by the code's number.
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

before(async () => {
  const lab = await kernel("lab");
  l1 = await L1.start({ devices: DEVICES });
  pf = await coldDevice(l1, SLOTLESS_PORT.address);
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
