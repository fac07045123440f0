import assert from "node:assert/strict";
import { test } from "node:test";
import { errnoNumber } from "../../../src/abi/errno.ts";
import { VFIO_DEVICE_PCI_HOT_RESET } from "../../../src/abi/vfio.ts";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import type { PciDeviceSpec } from "../../../src/sim/pci-spec.ts";
import { BDF, TestMachine } from "./machine.ts";

const SIBLING = "0000:01:00.1";

const resets = (machine: TestMachine) =>
  machine.take().filter((line) => /^VFIO_DEVICE_(RESET|PCI_HOT_RESET)/.test(line));

/** One device whose resets are exactly these. */
function machineWith(facts: { works: boolean; flr: boolean; pm: boolean; hot: boolean }) {
  const reset = facts.flr ? "flr" : facts.pm ? "pm" : facts.works ? "bus" : "none";
  const spec = { ...eduSpec(BDF), reset, hotResettable: facts.hot } as const;
  const machine = new TestMachine({ devices: [{ spec, group: 7 }] });
  // The software device knows one kind of reset; what its config space says is set by hand.
  const device = machine.device();
  const pmControl = 0x44;
  device.setConfig(pmControl, Uint8Array.of(facts.pm ? 0 : 8));
  const deviceCapabilities = 0x4c + 3;
  device.setConfig(deviceCapabilities, Uint8Array.of(facts.flr ? 0x10 : 0));
  if (!facts.works) {
    const { ioctl } = machine.ledger;
    machine.ledger.ioctl = function (fd, request, arg) {
      const result = ioctl.call(this, fd, request, arg);
      const isInfo = arg instanceof Uint8Array && request === 0x3b6b;
      if (isInfo) arg[4]! &= ~1;
      return result;
    };
  }
  return machine;
}

const RESET = "VFIO_DEVICE_RESET";
const HOT = "VFIO_DEVICE_PCI_HOT_RESET";

test("spec F22: which reset is chosen, in all eight cases, with and without hot reset", () => {
  const cases: Array<
    [works: boolean, flr: boolean, pm: boolean, withHot: string, without: string]
  > = [
    [false, false, false, HOT, ""],
    [false, false, true, HOT, ""],
    [false, true, false, HOT, ""],
    [false, true, true, HOT, ""],
    [true, false, false, RESET, RESET],
    [true, false, true, HOT, RESET],
    [true, true, false, RESET, RESET],
    [true, true, true, RESET, RESET],
  ];
  for (const [works, flr, pm, withHot, without] of cases) {
    for (const hot of [true, false]) {
      using machine = machineWith({ works, flr, pm, hot });
      using fn = machine.assign();
      fn.reset();
      const expected = hot ? withHot : without;
      assert.deepEqual(
        resets(machine),
        expected === "" ? [] : [expected],
        `works ${works} flr ${flr} pm ${pm} hot ${hot}`,
      );
    }
  }
});

test("resetDevice: a device without any way says so, once", () => {
  using machine = machineWith({ works: false, flr: false, pm: false, hot: false });
  using fn = machine.assign();
  fn.reset();
  assert.deepEqual(machine.reports, [
    `vfio: Cannot reset device ${BDF}, no available reset mechanism (ENODEV)`,
  ]);
});

test("resetDevice: COMMAND is cleared, the device is in D0, and its virtual BARs are zero", () => {
  using machine = machineWith({ works: true, flr: true, pm: false, hot: false });
  using fn = machine.assign();
  fn.writeConfig(0x04, 2, 0x0007);
  machine.device().setConfig(0x44, Uint8Array.of(0x0b));
  machine.take();
  fn.reset();
  const log = machine.take();
  const at = (line: string) => log.indexOf(line);
  assert(at("write config 0x4+2=0x0") >= 0);
  assert(at("write config 0x44+2=0x8") > at("write config 0x4+2=0x0"));
  assert(at(RESET) > at("write config 0x44+2=0x8"));
  assert(at("write config 0x10+4=0x0") > at(RESET));
  assert(at("write config 0x24+4=0x0") > at(RESET));
  assert.equal(fn.interrupts.mode, "intx");
  assert.equal(fn.barAddress(0), undefined);
});

interface TwoFunctions {
  readonly group?: number;
  readonly assigned?: boolean;
  readonly pm?: boolean;
}

/** Two functions of one slot that a reset of the kernel's cannot reset alone. */
function twoFunctions({ group = 7, assigned = true, pm = false }: TwoFunctions = {}) {
  const one = { ...eduSpec(BDF), reset: pm ? "pm" : "none" } satisfies PciDeviceSpec;
  const machine = new TestMachine({
    devices: [
      { spec: one, group: 7 },
      { spec: { ...one, address: SIBLING }, group },
    ],
  });
  const fn = machine.assign({ multifunction: "on" });
  const sibling = assigned ? machine.assign({ host: SIBLING }, { devfn: 0x19 }) : undefined;
  machine.take();
  return {
    machine,
    fn,
    sibling,
    [Symbol.dispose]() {
      sibling?.[Symbol.dispose]();
      fn[Symbol.dispose]();
      machine[Symbol.dispose]();
    },
  };
}

test("spec F23: a hot reset that concerns a group not held is refused, and said", () => {
  using two = twoFunctions({ group: 8, assigned: false });
  two.fn.reset();
  assert.deepEqual(resets(two.machine), []);
  assert.match(two.machine.reports.join("\n"), /depends on group 8 which is not owned/);
});

test("spec F23: the refusal is not said when a power-state reset is left", () => {
  using two = twoFunctions({ group: 8, assigned: false, pm: true });
  two.fn.reset();
  assert.deepEqual(resets(two.machine), [RESET]);
  assert.deepEqual(two.machine.reports, []);
});

test("spec F23: a held group whose other device is not assigned is no obstacle", () => {
  using two = twoFunctions({ assigned: false });
  two.fn.reset();
  assert.deepEqual(resets(two.machine), [HOT]);
});

test("hotReset: a bus whose port does not bring its link back is said, with the device", () => {
  for (const [works, pm] of [
    [false, false],
    [false, true],
    [true, true],
  ] as const) {
    using machine = machineWith({ works, flr: false, pm, hot: true });
    using fn = machine.assign();
    const { ioctl } = machine.ledger;
    machine.ledger.ioctl = function (fd, request, arg) {
      if (request === VFIO_DEVICE_PCI_HOT_RESET) return -errnoNumber("ENOTTY");
      return ioctl.call(this, fd, request, arg);
    };
    machine.take();
    fn.reset();
    assert.deepEqual(resets(machine), works ? [HOT, RESET] : [HOT]);
    const said = machine.reports.join("\n");
    const why = "hot reset of its bus failed \\(ENOTTY\\): the link of the port above did not come";
    if (works) assert.match(said, new RegExp(`device ${BDF}: ${why}.*its power state instead`));
    else assert.match(said, new RegExp(`Cannot reset device ${BDF}, ${why}`));
  }
});

test("spec F23: single refuses with a sibling in use, multi without", () => {
  using two = twoFunctions();
  two.fn.reset();
  assert.deepEqual(resets(two.machine), []);
  two.sibling?.[Symbol.dispose]();
  two.machine.take();
  two.fn.hotResetMulti();
  assert.deepEqual(resets(two.machine), []);
});

test("spec F24: a machine reset resets a slot of two functions once", () => {
  using two = twoFunctions({ group: 8 });
  const counts = () => two.machine.host.devices.map(({ resetCount }) => resetCount);
  two.machine.state.resets.resetAll();
  assert.deepEqual(resets(two.machine), [HOT]);
  assert.deepEqual(counts(), [1, 1]);
  assert.deepEqual([two.fn.interrupts.mode, two.sibling?.interrupts.mode], ["intx", "intx"]);
});

test("spec F25: an AER event stops the VM, and says why", () => {
  using machine = new TestMachine({ devices: [{ spec: eduSpec(BDF), group: 7 }] });
  using _fn = machine.assign();
  machine.device().irqs.notify(3);
  machine.loop.dispatch();
  assert.deepEqual(machine.events, [`error ${BDF}`]);
  assert.match(machine.reports.join("\n"), /Unrecoverable error detected/);
});

test("spec F25: a request of the host asks the guest to unplug; x-req=off does not listen", () => {
  using machine = new TestMachine({ devices: [{ spec: eduSpec(BDF), group: 7 }] });
  const fn = machine.assign();
  machine.device().irqs.notify(4);
  machine.loop.dispatch();
  machine.device().irqs.notify(4);
  machine.loop.dispatch();
  assert.deepEqual(machine.events, [`removal ${BDF}`, `removal ${BDF}`]);
  fn[Symbol.dispose]();
  using _deaf = machine.assign({ "x-req": "off" });
  assert.equal(machine.device().irqs.notify(4), false);
});
