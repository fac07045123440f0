/**
 * What goes wrong with a device on real kernels: errors that its root port reports (AER) stop the
 * guest, and a hot reset works below one port and is refused below another.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { GUEST_PARAMETERS, guestInitrd } from "../../lab/guest.ts";
import { JOBS } from "../../lab/guest-jobs.ts";
import { type GuestRun, runViaduct } from "../../lab/guest-run.ts";
import { type Kernel, kernel } from "../../lab/kernel.ts";
import { L1 } from "../../lab/l1.ts";
import { TOPOLOGIES } from "../../lab/zoo.ts";
import { coldDevice, hostState, kernelIsWell } from "./l1-state.ts";

const limit = { timeout: 300_000 };
/** The port that reports a link it never has. */
const DEFAULT_PORT = "0000:00:1b.0";
/** Longer than it takes to inject errors: what stops the guest ends it earlier. */
const WAIT = {
  script: "say armed\nfor second in $(seq 20); do sleep 1; say second; done\n",
};
/** Between two errors: what the first one does is seen before the second. */
const BETWEEN_MS = 1500;

let lab: Kernel;
let l1: L1;

before(async () => {
  lab = await kernel("lab");
  l1 = await L1.start({ devices: TOPOLOGIES["default-port"].devices });
}, limit);

after(async () => {
  await l1?.[Symbol.asyncDispose]();
});

async function guest(
  device: string,
  job: { readonly script: string },
  onConsole?: (text: string) => void,
): Promise<GuestRun> {
  return runViaduct(l1, {
    bzImage: lab.bzImage,
    initrd: await guestInitrd(lab, job),
    append: GUEST_PARAMETERS,
    memory: "256M",
    devices: [`vfio-pci,host=${device}`],
    extra: ["--trace", "vfio_pci_hot_reset*"],
    ...(onConsole && { onConsole }),
  });
}

/** Runs a guest, and gives its device these errors once it is up. */
async function guestWithErrors(device: string, ...errors: readonly string[]): Promise<GuestRun> {
  let injected: Promise<void> | undefined;
  const inject = async () => {
    for (const error of errors) {
      const answer = await l1.hmp(`pcie_aer_inject_error ${l1.deviceId(device)} ${error}`);
      assert.match(answer, /^OK/);
      await delay(BETWEEN_MS);
    }
  };
  const run = await guest(device, WAIT, (text) => {
    if (text.includes("armed")) injected ??= inject();
  });
  await injected;
  return run;
}

test("a hot reset succeeds below a port whose link is there", limit, async () => {
  const device = await l1.plug("e1000e");
  await l1.bindVfio(device);
  const state = await hostState(l1);
  const run = await guest(device, JOBS.boot);
  assert.equal(run.status, 0, run.stderr);
  assert.match(run.stderr, /^vfio_pci_hot_reset_result name=\S+ result=Success$/m);
  assert.equal(await hostState(l1), state);
  await l1.unplug(device);
});

test("below a port that never has its link the reset is refused, and said", limit, async () => {
  const device = await coldDevice(l1, DEFAULT_PORT);
  await l1.bindVfio(device);
  const state = await hostState(l1);
  const run = await guest(device, JOBS.boot);
  assert.equal(run.status, 0, run.stderr);
  assert.match(run.stderr, /^vfio_pci_hot_reset_result name=\S+ result=ENOTTY$/m);
  const said = `vfio: device ${device}: hot reset of its bus failed (ENOTTY): the link of the port`;
  assert.ok(run.stderr.includes(said), run.stderr);
  assert.equal(await hostState(l1), state);
});

for (const [what, error] of [
  ["non-fatal", "COMP_TIME"],
  ["fatal", "DLP"],
] as const) {
  test(`a ${what} error of the device stops the guest, and says why`, limit, async () => {
    const device = await l1.plug("virtio-net-aer");
    await l1.bindVfio(device);
    const state = await hostState(l1);
    const run = await guestWithErrors(device, "RCVR", error);
    assert.notEqual(run.status, 0, run.console);
    assert.match(run.stderr, new RegExp(`${device}: Unrecoverable error detected`));
    // The correctable one before it did nothing.
    assert.ok(run.lines.includes("second"), run.console);
    assert.equal(await hostState(l1), state);
    await l1.unplug(device);
  });
}

test("L1's kernel is well after all of it", limit, () => kernelIsWell(l1));
