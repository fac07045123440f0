/**
 * The doctor's catalogue on a real kernel that is made to fail: groups. Each test is named by the
 * code's number. Read next: doctor-devices.test.ts, what devices themselves do;
 * doctor-platform.test.ts, a host without IOMMU.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { guestInitrd } from "../../lab/guest.ts";
import { JOBS } from "../../lab/guest-jobs.ts";
import { kernel } from "../../lab/kernel.ts";
import { L1 } from "../../lab/l1.ts";
import {
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
import { coldDevice } from "./l1-state.ts";

const limit = { timeout: 300_000 };

const DEVICES = [
  // A card with a sound function that was forgotten: one group, as there is no ACS.
  "e1000e,bus=rp7,addr=0x0.0x0,multifunction=on",
  "intel-hda,id=sound,bus=rp7,addr=0x0.0x1",
  "hda-output,bus=sound.0,audiodev=silence",
];

let l1: L1;
let card: string;
let sound: string;

const sysfs = (bdf: string) => `/sys/bus/pci/devices/${bdf}`;
const group = (bdf: string) => l1.sh(`basename $(readlink ${sysfs(bdf)}/iommu_group)`);

before(async () => {
  const lab = await kernel("lab");
  l1 = await L1.start({ devices: DEVICES });
  card = await coldDevice(l1, "0000:00:17.0");
  sound = card.replace(/0$/, "1");
  const initrd = await guestInitrd(lab, JOBS.boot);
  await shareGuest(l1, lab, initrd);
}, limit);

after(async () => {
  await l1?.[Symbol.asyncDispose]();
});

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
