import assert from "node:assert/strict";
import { test } from "node:test";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import { msixTestSpec } from "../../../src/sim/devices/msix.ts";
import { ViaductError } from "../../../src/sys/sys-error.ts";
import { BDF, TestMachine } from "./machine.ts";

const spec = {
  ...eduSpec(BDF),
  msix: msixTestSpec(BDF).msix!,
  bars: msixTestSpec(BDF).bars!,
  rom: new Uint8Array(2048).fill(1),
  behaviour: () => ({}),
};

/** Makes the n-th call of an assignment fail; answers whether there was one. */
function assignFailing(n: number, errno: string): boolean {
  using machine = new TestMachine({ devices: [{ spec, group: 7 }] });
  const before = machine.ledger.live();
  machine.ledger.failAt(n, errno);
  let done = false;
  try {
    const fn = machine.assign();
    done = machine.ledger.stopFailing();
    fn[Symbol.dispose]();
  } catch (error) {
    machine.ledger.stopFailing();
    assert(error instanceof ViaductError, `call ${n}: ${String(error)}`);
    assert.match(error.message, /^vfio 0000:01:00\.0: /, `call ${n}`);
  }
  assert.deepEqual(machine.ledger.live(), before, `call ${n} failed with ${errno}`);
  assert.deepEqual(machine.host.describe(), [], `call ${n}`);
  assert.equal(machine.clock.pending, 0);
  assert.equal(machine.platform.lines.size, 0);
  assert.deepEqual([machine.routes.routes.size, machine.routes.irqfds.size], [0, 0]);
  assert.equal(machine.bus.get(0x18), undefined);
  assert.deepEqual([machine.state.groups.length, machine.state.spaces.length], [0, 0]);
  return !done;
}

test("spec F28: whichever system call of realize fails, nothing is left", () => {
  for (const errno of ["EIO", "ENOMEM"]) {
    let n = 1;
    while (assignFailing(n, errno)) n++;
    assert(n > 30, `only ${n} calls`);
  }
});

test("spec F28: a realize that fails late, for a reason of its own, leaves nothing", () => {
  const late = { ...spec, interruptPin: 1 as const };
  using machine = new TestMachine({ devices: [{ spec: late, group: 7 }] });
  const before = machine.ledger.live();
  machine.device().setConfig(0x3d, Uint8Array.of(9));
  assert.throws(() => machine.assign(), /vfio 0000:01:00\.0: invalid interrupt pin 0x9/);
  assert.deepEqual(machine.ledger.live(), before);
  assert.deepEqual(machine.host.describe(), []);
});

test("VfioPciFunction: 200 assignments leave not one descriptor, mapping or route", () => {
  using machine = new TestMachine({ devices: [{ spec, group: 7 }] });
  const before = machine.ledger.live();
  for (let i = 0; i < 200; i++) machine.assign()[Symbol.dispose]();
  assert.deepEqual(machine.ledger.live(), before);
  assert.deepEqual(machine.host.describe(), []);
  assert.deepEqual([machine.routes.routes.size, machine.routes.irqfds.size], [0, 0]);
});
