/**
 * Guests with all their RAM below the hole of 32-bit addresses, and with most of it above 4 GiB,
 * where a device must reach it too; with 2 and 4 vCPUs.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { GUEST_PARAMETERS, guestInitrd } from "../../lab/guest.ts";
import { runViaduct, said } from "../../lab/guest-run.ts";
import { type Kernel, kernel } from "../../lab/kernel.ts";
import { L1 } from "../../lab/l1.ts";
import { ScratchDisk } from "../../lab/scratch-disk.ts";
import { hostState, kernelIsWell } from "./l1-state.ts";

const limit = { timeout: 600_000 };
const MIB = 2 ** 20;
const DISK_MIB = 32;
const PAGE = 4096;

/**
 * Reads the disk through the page cache and tells in which zone the pages are: x86 Linux calls
 * `Normal` what lies above 4 GiB, and `DMA32` what lies below.
 */
const READ_INTO_ZONES = `
pages() {
  awk -v zone=$1 '
    /^Node/ {in_zone = ($4 == zone)}
    in_zone && /zone_(in)?active_file/ {sum += $2}
    END {print sum + 0}' /proc/zoneinfo
}
wait_for /dev/nvme0n1
# The last to close a block device empties its page cache.
exec 3</dev/nvme0n1
say "cpus $(nproc)"
say "memory $(awk '/MemTotal/{print $2}' /proc/meminfo)"
echo 3 >/proc/sys/vm/drop_caches
low=$(pages DMA32) high=$(pages Normal)
say "sha256 $(sha256sum /dev/nvme0n1 | cut -d' ' -f1)"
say "low $(($(pages DMA32) - low))"
say "high $(($(pages Normal) - high))"
`;

let lab: Kernel;
let l1: L1;
let disk: ScratchDisk;
let nvme: string;

before(async () => {
  lab = await kernel("lab");
  disk = new ScratchDisk(DISK_MIB);
  l1 = await L1.start({ memoryMib: 8192, cpus: 2 });
  nvme = await l1.plug("nvme", { drive: disk.path, serial: "viaduct" });
  await l1.bindVfio(nvme);
});

after(async () => {
  await l1?.[Symbol.asyncDispose]();
  disk?.[Symbol.dispose]();
});

const GUESTS = [
  { memory: "512M", mebibytes: 512, cpus: 4, filled: "low" },
  { memory: "6G", mebibytes: 6144, cpus: 2, filled: "high" },
] as const;

for (const { memory, mebibytes, cpus, filled } of GUESTS) {
  test(`${memory} and ${cpus} vCPU: the device fills ${filled} memory`, limit, async () => {
    const state = await hostState(l1);
    const run = await runViaduct(l1, {
      bzImage: lab.bzImage,
      initrd: await guestInitrd(lab, { drivers: ["nvme"], script: READ_INTO_ZONES }),
      append: GUEST_PARAMETERS,
      memory,
      cpus,
      devices: [`vfio-pci,host=${nvme}`],
    });
    assert.equal(run.status, 0, run.console + run.stderr);
    assert.equal(said(run, "cpus"), String(cpus));
    const seen = (Number(said(run, "memory")) * 1024) / MIB;
    assert.ok(seen > mebibytes * 0.9 && seen <= mebibytes, `${seen} MiB\n${run.console}`);
    assert.equal(said(run, "sha256"), disk.sha256);
    const pages = Number(said(run, filled));
    assert.ok(pages * PAGE >= DISK_MIB * MIB * 0.9, `${pages} pages\n${run.console}`);
    assert.equal(await hostState(l1), state);
  });
}

test("L1's kernel has nothing to report", limit, () => kernelIsWell(l1));
