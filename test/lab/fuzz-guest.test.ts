/**
 * A guest that writes random values to its devices: Viaduct neither throws, hangs
 * nor grows, and L1's kernel has nothing to report. L1 runs the stock kernel: the lab's, under
 * emulation, now and then ends such a guest by itself (KVM internal error, suberror 3).
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { GUEST_PARAMETERS, type GuestJob, guestInitrd, guestLines } from "../../lab/guest.ts";
import { viaductCommand } from "../../lab/guest-run.ts";
import { type KernelName, kernel } from "../../lab/kernel.ts";
import { L1 } from "../../lab/l1.ts";
import { quote } from "../../lab/quote.ts";
import { ScratchDisk } from "../../lab/scratch-disk.ts";
import { FUZZ_JOBS } from "./fuzz-jobs.ts";
import { hostState, kernelIsWell } from "./l1-state.ts";

const limit = { timeout: 600_000 };
/** After which a guest that hangs, as it may, is ended as a person would. */
const PATIENCE_SECONDS = 100;
const GROWTH_KIB = 48 * 1024;
const STDERR_MAX = 32 * 1024;

let l1: L1;
let disk: ScratchDisk;
let nvme: string;

before(async () => {
  disk = new ScratchDisk(1);
  l1 = await L1.start({ kernel: "debian" });
  nvme = await l1.plug("nvme", { drive: disk.path, serial: "viaduct" });
  await l1.bindVfio(nvme);
});

after(async () => {
  await l1?.[Symbol.asyncDispose]();
  disk?.[Symbol.dispose]();
});

/** Runs the guest and follows what Viaduct has of memory, guest RAM left out, in KiB. */
async function fuzz(name: KernelName, job: GuestJob, device: string) {
  const { bzImage } = await kernel(name);
  const command = viaductCommand({
    bzImage,
    initrd: await guestInitrd(await kernel(name), job),
    append: GUEST_PARAMETERS,
    memory: "256M",
    devices: ["pcie-root-port,id=rp0,chassis=1", `vfio-pci,host=${device},bus=rp0`],
    extra: ["--no-reboot"],
  });
  const result = await l1.shell(
    `
    cd $(mktemp -d)
    ${command.map(quote).join(" ")} </dev/null >out 2>err &
    anonymous() { awk '/RssAnon/{print $2}' /proc/$1/status 2>/dev/null; }
    for try in $(seq ${PATIENCE_SECONDS}); do
      grep -q "guest: start" out && size=$(anonymous $!) && [ -n "$size" ] && echo "size $size"
      sleep 1
      kill -0 $! 2>/dev/null || break
    done
    kill -TERM $! 2>/dev/null && echo "ended from outside"
    wait $!; echo "status $?"; cat out; cat err >&2`,
    { timeoutMs: 200_000 },
  );
  const sizes = [...result.stdout.matchAll(/^size (\d+)$/gm)].map((match) => Number(match[1]));
  const status = Number(/^status (\d+)$/m.exec(result.stdout)?.[1]);
  return { ...result, sizes, status, said: guestLines(result.stdout) };
}

function rounds(said: readonly string[], what: string): number {
  return Number(said.find((line) => line.startsWith(`${what} `))?.split(" ")[1] ?? 0);
}

const GUESTS = [
  { name: "lab", job: FUZZ_JOBS.memory, device: () => nvme, all: ["ecam"] },
  { name: "debian", job: FUZZ_JOBS.ports, device: () => nvme, all: ["ports"] },
] as const;

for (const { name, job, device, all } of GUESTS) {
  test(`a guest that fuzzes ${all.join(" and ")} is only a guest`, limit, async () => {
    const state = await hostState(l1);
    const run = await fuzz(name, job, device());
    // Powered off, reset itself, or shut down by a triple fault: all of it is the guest's to do.
    assert.ok(run.status === 0 || run.status === 6, `${run.status}\n${run.stdout}${run.stderr}`);
    for (const what of all)
      assert.ok(rounds(run.said, what) > 1, `${what}\n${run.stdout}${run.stderr}`);
    assert.doesNotMatch(run.stderr, /^ {4}at |AssertionError|TypeError|RangeError/m);
    assert.ok(run.stderr.length < STDERR_MAX, `${run.stderr.length} bytes on stderr`);
    assert.ok(run.sizes.length > 5, run.stdout);
    const growth = run.sizes.at(-1)! - run.sizes[0]!;
    assert.ok(growth < GROWTH_KIB, `grew by ${growth} KiB: ${run.sizes.join(" ")}`);
    assert.equal(await hostState(l1), state);
    await kernelIsWell(l1);
  });
}
