/**
 * The doctor's catalogue on a real kernel that is made to fail: who has a device, its group and
 * its memory. Each test is named by the code's number. Read next: doctor-devices.test.ts, what
 * devices themselves do; doctor-platform.test.ts, hosts without IOMMU or VFIO.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { busybox } from "../../lab/busybox.ts";
import { guestInitrd } from "../../lab/guest.ts";
import { JOBS } from "../../lab/guest-jobs.ts";
import { kernel } from "../../lab/kernel.ts";
import { L1 } from "../../lab/l1.ts";
import { ScratchDisk } from "../../lab/scratch-disk.ts";
import {
  AS_NOBODY,
  explains,
  finds,
  findsNone,
  follow,
  mentions,
  qemuWith,
  shareGuest,
  startWith,
  viaduct,
} from "./doctor-in-l1.ts";
import { coldDevice, interfaceOf, plugNetworkCard } from "./l1-state.ts";

const limit = { timeout: 300_000 };

const DEVICES = [
  // A card with a sound function that was forgotten: one group, as there is no ACS.
  "e1000e,bus=rp7,addr=0x0.0x0,multifunction=on",
  "intel-hda,id=sound,bus=rp7,addr=0x0.0x1",
  "hda-output,bus=sound.0,audiodev=silence",
];
const TYPE1 = "/sys/module/vfio_iommu_type1/parameters";

let l1: L1;
let disk: ScratchDisk;
let card: string;
let sound: string;
let nvme: string;
let ip: string;

const sysfs = (bdf: string) => `/sys/bus/pci/devices/${bdf}`;
const group = (bdf: string) => l1.sh(`basename $(readlink ${sysfs(bdf)}/iommu_group)`);

before(async () => {
  const lab = await kernel("lab");
  ip = `${await busybox()} ip`;
  disk = new ScratchDisk(16);
  l1 = await L1.start({ devices: DEVICES });
  nvme = await l1.plug("nvme", { drive: disk.path, serial: "viaduct" });
  card = await coldDevice(l1, "0000:00:17.0");
  sound = card.replace(/0$/, "1");
  const initrd = await guestInitrd(lab, JOBS.boot);
  await shareGuest(l1, lab, initrd);
}, limit);

after(async () => {
  await l1?.[Symbol.asyncDispose]();
  disk?.[Symbol.dispose]();
});

test(
  "15 NOT_BOUND: a device with its host driver; the fix gives it to vfio-pci",
  limit,
  async () => {
    const found = await finds(l1, "NOT_BOUND", [nvme]);
    assert.deepEqual(found.evidence[0], { path: `${sysfs(nvme)}/driver`, value: "nvme" });
    const start = await startWith(l1, nvme);
    assert.equal(start.status, 1, start.stderr);
    explains(start.stderr, "NOT_BOUND");
    explains((await qemuWith(l1, nvme)).stderr, "NOT_BOUND");
    await follow(l1, found.fix);
    await findsNone(l1, ["NOT_BOUND", "GROUP_NOT_VIABLE", "GROUP_BUSY", "NO_RESET"], [nvme]);
  },
);

test(
  "11 GROUP_NOT_VIABLE, 12 GROUP_AUDIO_LEFT: the other function is with the host",
  limit,
  async () => {
    const bound = await viaduct(l1, ["bind", card]);
    assert.equal(bound.status, 0, bound.stderr);
    assert.match(bound.stderr, /WARN {2}group \d+ is not viable yet: \S+ \(snd_hda_intel\)/);
    const { evidence } = await finds(l1, "GROUP_NOT_VIABLE", [card]);
    const path = `/sys/kernel/iommu_groups/${await group(card)}/devices/${sound}/driver`;
    assert.deepEqual(evidence, [{ path, value: "snd_hda_intel" }]);
    const audio = await finds(l1, "GROUP_AUDIO_LEFT", [card]);
    const start = await startWith(l1, card);
    assert.equal(start.status, 1, start.stderr);
    assert.match(start.stderr, new RegExp(`group ${await group(card)} is not viable`));
    explains(start.stderr, "GROUP_NOT_VIABLE");
    mentions(start.stderr, "GROUP_AUDIO_LEFT");
    explains((await qemuWith(l1, card)).stderr, "GROUP_NOT_VIABLE");
    await follow(l1, audio.fix);
    await findsNone(l1, ["GROUP_NOT_VIABLE", "GROUP_AUDIO_LEFT", "NOT_BOUND"], [card]);
    await follow(l1, audio.undo);
    assert.equal(await l1.sh(`basename $(readlink ${sysfs(sound)}/driver)`), "snd_hda_intel");
  },
);

test("19 GROUP_BUSY: another process holds the group, and is named", limit, async () => {
  const node = `/dev/vfio/${await group(nvme)}`;
  const pid = await l1.sh(`sleep 600 7<>${node} >/dev/null 2>&1 & echo $!`);
  const { detail } = await finds(l1, "GROUP_BUSY", [nvme]);
  assert.equal(detail, `${node} is open in sleep (pid ${pid})`);
  const start = await startWith(l1, nvme);
  assert.equal(start.status, 1, start.stderr);
  assert.match(start.stderr, new RegExp(`sleep \\(pid ${pid}\\)`));
  explains(start.stderr, "GROUP_BUSY");
  explains((await qemuWith(l1, nvme)).stderr, "GROUP_BUSY");
  await l1.sh(`kill ${pid}`);
  await findsNone(l1, ["GROUP_BUSY"], [nvme]);
});

test("20 GROUP_PERMISSION: the node is root's; root itself may", limit, async () => {
  const found = await finds(l1, "GROUP_PERMISSION", [nvme], AS_NOBODY);
  const start = await startWith(l1, nvme, AS_NOBODY);
  assert.equal(start.status, 3, start.stderr);
  explains(start.stderr, "GROUP_PERMISSION");
  explains((await qemuWith(l1, nvme, AS_NOBODY)).stderr, "GROUP_PERMISSION");
  await findsNone(l1, ["GROUP_PERMISSION"], [nvme]);
  await follow(l1, found.fix);
  await findsNone(l1, ["GROUP_PERMISSION"], [nvme], AS_NOBODY);
});

test(
  "39 MEMLOCK_LOW: less may be locked than the guest has, without CAP_IPC_LOCK",
  limit,
  async () => {
    const guest = ["--memory", "64M", nvme];
    const under = (bytes: number) => ["prlimit", `--memlock=${bytes}:${bytes}`, ...AS_NOBODY];
    await findsNone(l1, ["MEMLOCK_LOW"], guest, under(128 << 20));
    const { detail } = await finds(l1, "MEMLOCK_LOW", guest, under(1 << 20));
    assert.match(detail, /^1048576 bytes may be locked.*67108864/);
    await findsNone(l1, ["MEMLOCK_LOW"], guest, ["prlimit", "--memlock=1048576:1048576"]);
    const start = await startWith(l1, nvme, under(1 << 20));
    assert.equal(start.status, 1, start.stderr);
    explains(start.stderr, "MEMLOCK_LOW");
    explains((await qemuWith(l1, nvme, under(1 << 20))).stderr, "MEMLOCK_LOW");
    const log = await l1.sh("dmesg | grep RLIMIT_MEMLOCK");
    explains(log, "MEMLOCK_LOW");
    await finds(l1, "MEMLOCK_LOW", guest);
  },
);

test(
  "41 DMA_ENTRY_LIMIT: fewer mappings are allowed than the guest's RAM takes",
  limit,
  async () => {
    await l1.sh(`echo 0 >${TYPE1}/dma_entry_limit`);
    const found = await finds(l1, "DMA_ENTRY_LIMIT", [nvme]);
    assert.deepEqual(found.evidence, [{ path: `${TYPE1}/dma_entry_limit`, value: "0" }]);
    const start = await startWith(l1, nvme);
    assert.equal(start.status, 1, start.stderr);
    explains(start.stderr, "DMA_ENTRY_LIMIT");
    explains((await qemuWith(l1, nvme)).stderr, "DMA_ENTRY_LIMIT");
    await follow(l1, found.fix);
    await findsNone(l1, ["DMA_ENTRY_LIMIT"], [nvme]);
  },
);

test(
  "22 HOST_CRITICAL: a mounted disk and the default route; bind refuses and names them",
  limit,
  async () => {
    const network = await plugNetworkCard(l1, "e1000e");
    assert.equal((await viaduct(l1, ["restore", "--all"])).status, 0);
    await findsNone(l1, ["HOST_CRITICAL"], [nvme, network]);
    const interfaceName = await interfaceOf(l1, network);
    await l1.sh(`for try in $(seq 100); do [ -b /dev/nvme0n1 ] && break; sleep 0.1; done
    mke2fs -q -t ext4 /dev/nvme0n1 && mkdir -p /mnt/disk && mount /dev/nvme0n1 /mnt/disk
    ${ip} addr add 10.0.2.15/24 dev ${interfaceName} && ${ip} link set ${interfaceName} up
    ${ip} route add default via 10.0.2.2`);
    for (const [device, use] of [
      [nvme, /nvme0n1 is mounted at \/mnt\/disk/],
      [network, new RegExp(`carries the default route \\(${interfaceName}\\)`)],
    ] as const) {
      const { detail } = await finds(l1, "HOST_CRITICAL", [device]);
      assert.match(detail, use);
      const refused = await viaduct(l1, ["bind", device]);
      assert.equal(refused.status, 1, refused.stderr);
      assert.match(refused.stderr, use);
      explains(refused.stderr, "HOST_CRITICAL");
      const start = await startWith(l1, device);
      assert.equal(start.status, 1, start.stderr);
    }
    await l1.sh(`umount /mnt/disk; ${ip} route del default`);
    await findsNone(l1, ["HOST_CRITICAL"], [nvme, network]);
  },
);
