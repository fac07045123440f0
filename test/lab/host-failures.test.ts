/**
 * What goes wrong on a host, on a real kernel: each failure ends with its exit status and a message
 * that names the device, what was done, the values and the next step, and leaves L1 as it was.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { GUEST_PARAMETERS, guestInitrd } from "../../lab/guest.ts";
import { JOBS } from "../../lab/guest-jobs.ts";
import { runViaduct, said, viaductCommand } from "../../lab/guest-run.ts";
import { type Kernel, kernel } from "../../lab/kernel.ts";
import { L1 } from "../../lab/l1.ts";
import { quote } from "../../lab/quote.ts";
import { ScratchDisk } from "../../lab/scratch-disk.ts";
import { TOPOLOGIES } from "../../lab/zoo.ts";
import { hostState, kernelIsWell } from "./l1-state.ts";

const limit = { timeout: 600_000 };
const SHARED = 'grep -l "^0x11e8" /sys/bus/pci/devices/*/device | xargs dirname | xargs basename';

let lab: Kernel;
let l1: L1;
let disk: ScratchDisk;
let nvme: string;
let unbound: string;
let initrd: string;

before(async () => {
  lab = await kernel("lab");
  disk = new ScratchDisk(16);
  l1 = await L1.start({ devices: TOPOLOGIES["bridge-shared"].devices });
  nvme = await l1.plug("nvme", { drive: disk.path, serial: "viaduct" });
  unbound = await l1.plug("nvme", { drive: disk.path, serial: "unbound" });
  await l1.bindVfio(nvme);
  initrd = await guestInitrd(lab, JOBS.nvmeQuick);
  // The cache is the test's user's alone; other users of L1 get copies.
  await l1.sh(`cp ${lab.bzImage} /tmp/kernel; cp ${initrd} /tmp/initrd; chmod 644 /tmp/kernel`);
});

after(async () => {
  await l1?.[Symbol.asyncDispose]();
  disk?.[Symbol.dispose]();
});

interface Failing {
  /** `-device` values. */
  readonly devices?: readonly string[];
  readonly memory?: string;
  readonly kernel?: string;
  /** Put before the command: another user, another limit. */
  readonly as?: readonly string[];
}

const onNvme = () => [`vfio-pci,host=${nvme}`];
const AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

async function attempt(where: L1, { devices = [], memory = "64M", ...more }: Failing) {
  const command = viaductCommand({
    bzImage: more.kernel ?? "/tmp/kernel",
    initrd: "/tmp/initrd",
    append: GUEST_PARAMETERS,
    memory,
    devices,
  });
  return where.run([...(more.as ?? []), ...command], { timeoutMs: 60_000 });
}

/** Runs what must fail, and compares exit status, message and L1 before and after. */
async function fails(failing: Failing, status: number, ...messages: RegExp[]): Promise<void> {
  const state = await hostState(l1);
  const result = await attempt(l1, failing);
  assert.equal(result.status, status, result.stdout + result.stderr);
  for (const message of messages) assert.match(result.stderr, message);
  assert.match(result.stderr, /\n {2}next: \S/);
  assert.doesNotMatch(result.stderr, /^ {4}at /m);
  assert.equal(await hostState(l1), state);
}

test("wrong usage: an unknown property, a bad address, an unknown device", limit, async () => {
  const property = [`vfio-pci,host=${nvme},x-no-such=on`];
  await fails({ devices: property }, 2, /'vfio-pci\.x-no-such' not found/);
  await fails({ devices: ["vfio-pci,host=1:2:3:4"] }, 2, /host.*1:2:3:4/, /next: .*0000:01:00\.0/);
  await fails({ devices: ["vfio-pci,host=0000:ee:00.0"] }, 4, /0000:ee:00\.0: no such host device/);
});

test("a kernel image that is no bzImage, and more RAM than the host has", limit, async () => {
  await fails({ kernel: "/tmp/initrd" }, 1, /\/tmp\/initrd: Cannot boot.*gzip/, /next: .*bzImage/);
  await fails(
    { memory: "64G", devices: onNvme() },
    1,
    /65536 MiB.*the host has \d+ MiB/,
    /--memory/,
  );
});

test("a device that is bound to its host driver", limit, async () => {
  const devices = [`vfio-pci,host=${unbound}`];
  await fails(
    { devices },
    1,
    new RegExp(`${unbound}: `),
    new RegExp(`${unbound} is bound to nvme`),
  );
});

test("a group of which the host still drives another member", limit, async () => {
  const edu = await l1.sh(SHARED);
  await l1.bindVfio(edu);
  await fails(
    { devices: [`vfio-pci,host=${edu}`] },
    ...([1, new RegExp(`${edu}: group \\d+ is not viable`), /is bound to e1000\b/] as const),
  );
});

test("no KVM, and no permission for KVM", limit, async () => {
  await l1.sh("mv /dev/kvm /dev/kvm-hidden");
  try {
    await fails({ devices: onNvme() }, 5, /\/dev\/kvm: .*ENOENT|No such file/, /next: .*modprobe/);
  } finally {
    await l1.sh("mv /dev/kvm-hidden /dev/kvm; chmod 600 /dev/kvm; chmod 644 /tmp/initrd");
  }
  await fails({ as: AS_NOBODY }, 3, /\/dev\/kvm: Permission denied/, /next: .*group kvm/);
  await l1.sh("chmod 666 /dev/kvm");
});

test(
  "no permission for the group; then RLIMIT_MEMLOCK below what the guest needs",
  limit,
  async () => {
    const group = await l1.sh(`basename $(readlink /sys/bus/pci/devices/${nvme}/iommu_group)`);
    const nobody: Failing = { devices: onNvme(), as: AS_NOBODY };
    await fails(
      nobody,
      ...([3, new RegExp(`${nvme}: .*/dev/vfio/${group}: Permission denied`)] as const),
    );
    await l1.sh(`chown 65534 /dev/vfio/${group}; chmod 666 /dev/vfio/vfio`);
    const limited = ["prlimit", "--memlock=1048576:1048576", ...AS_NOBODY];
    await fails(
      { ...nobody, as: limited },
      ...([
        1,
        /VFIO_MAP_DMA failed/,
        /1048576 bytes \(1 MiB\).*67108864 bytes \(64 MiB\)/,
      ] as const),
    );
  },
);

test(
  "a group another process holds is named with its holder, kill -9 frees it",
  limit,
  async () => {
    const state = await hostState(l1);
    const command = viaductCommand({
      bzImage: lab.bzImage,
      initrd: await guestInitrd(lab, JOBS.readLine),
      append: GUEST_PARAMETERS,
      memory: "128M",
      devices: onNvme(),
    });
    const pid = await l1.sh(`
    cd /tmp && rm -f held && mkfifo held && exec 7<>held
    ${command.map(quote).join(" ")} <held >out 2>err & pid=$!
    for try in $(seq 600); do grep -q "guest: ready" out && break; sleep 0.1; done
    grep -q "guest: ready" out || { cat out err >&2; exit 1; }
    echo $pid`);
    await fails(
      { devices: onNvme() },
      1,
      /Device or resource busy/,
      new RegExp(`\\(pid ${pid}\\)`),
    );
    await l1.sh(`kill -9 ${pid}`);
    for (let tries = 0; tries < 50 && (await hostState(l1)) !== state; tries++) await delay(200);
    assert.equal(await hostState(l1), state);
    const next = await runViaduct(l1, {
      ...{ bzImage: lab.bzImage, initrd, append: GUEST_PARAMETERS, memory: "128M" },
      devices: onNvme(),
    });
    assert.equal(next.status, 0, next.stderr);
    assert.equal(said(next, "readback"), "equal");
    await kernelIsWell(l1);
  },
);

test("no IOMMU", limit, async () => {
  await l1[Symbol.asyncDispose]();
  await using plain = await L1.start({ iommu: "none", memoryMib: 1024 });
  await plain.sh("echo 0 >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
  await plain.sh(`cp ${lab.bzImage} /tmp/kernel; cp ${initrd} /tmp/initrd`);
  const device = await plain.plug("e1000");
  const result = await attempt(plain, { devices: [`vfio-pci,host=${device}`] });
  assert.equal(result.status, 5, result.stderr);
  assert.match(result.stderr, new RegExp(`${device}: no iommu_group found`));
  assert.match(result.stderr, /next: Enable the IOMMU/);
});
