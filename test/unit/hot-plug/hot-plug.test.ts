import assert from "node:assert/strict";
import { test } from "node:test";
import { VFIO_PCI_REQ_IRQ_INDEX } from "../../../src/abi/vfio.ts";
import { SysError, ViaductError } from "../../../src/sys/sys-error.ts";
import { EDU, HotPlugMachine, MSIX, option, vfioPci } from "./hot-plug-machine.ts";

const ABSENT = 0xffff_ffff;
const MSIX_ID = 0x10f0_1b36;
const CYCLES = 200;

test("HotPlug: a device comes, the guest uses it, lets go of it, and it is given back", () => {
  using machine = new HotPlugMachine();
  const { guest, hotPlug } = machine;
  const before = machine.held();
  machine.add();
  assert.equal(guest.id(), ABSENT, "no power yet");
  guest.serve();
  assert.equal(guest.id(), MSIX_ID);
  assert.equal(machine.machine.routes.irqfds.size, 8, "every vector is armed");
  hotPlug.requestRemoval("dev");
  assert.deepEqual(machine.take(), []);
  guest.serve();
  assert.deepEqual(machine.take(), ["deleted dev"]);
  assert.equal(guest.id(), ABSENT);
  assert.deepEqual(machine.held(), before);
});

test("HotPlug: the port tells by its own message, for what comes and what goes", () => {
  using machine = new HotPlugMachine();
  const { platform } = machine.machine;
  machine.add();
  const message = { message: { address: 0xfee0_0000n, data: 0x41 }, requesterId: 0x08 };
  assert.deepEqual(platform.delivered, [message]);
  machine.guest.serve();
  const after = platform.delivered.length;
  machine.hotPlug.requestRemoval("dev");
  assert.deepEqual(platform.delivered.slice(after), [message]);
});

test("spec 14A: a hot-plugged device is reset before the guest can see it", () => {
  using machine = new HotPlugMachine();
  machine.machine.log.length = 0;
  machine.add();
  const log = machine.machine.take();
  assert.equal(log.filter((line) => line === "VFIO_DEVICE_RESET").length, 1);
  assert.equal(machine.guest.id(), ABSENT);
});

test(`HotPlug: ${CYCLES} cycles leave nothing behind`, () => {
  using machine = new HotPlugMachine([{}, {}]);
  const { guests, hotPlug } = machine;
  const before = machine.held();
  for (let cycle = 0; cycle < CYCLES; cycle++) {
    hotPlug.add(vfioPci({ id: "msix", bus: "rp0" }), machine.make);
    hotPlug.add(option("vfio-pci", { host: EDU, id: "edu" }), machine.make);
    for (const guest of guests) guest.serve();
    assert.equal(guests[0]!.id(), MSIX_ID);
    assert.equal(guests[1]!.readBar(0), 0x0100_00edn, "edu answers with its identification");
    for (const id of ["edu", "msix"]) hotPlug.requestRemoval(id);
    for (const guest of guests) guest.serve();
    assert.deepEqual(machine.take(), ["deleted msix", "deleted edu"]);
    assert.deepEqual(machine.held(), before, `cycle ${cycle}`);
  }
});

test("HotPlug: whichever system call of an addition fails, the machine goes on as it was", () => {
  for (let n = 1; ; n++) {
    using machine = new HotPlugMachine();
    const before = machine.held();
    machine.machine.ledger.failAt(n);
    let failed = true;
    try {
      machine.add();
      failed = !machine.machine.ledger.stopFailing();
    } catch (error) {
      machine.machine.ledger.stopFailing();
      assert.ok(error instanceof ViaductError || error instanceof SysError, String(error));
      assert.deepEqual(machine.held(), before, `call ${n}`);
      machine.add();
    }
    machine.guest.serve();
    assert.equal(machine.guest.id(), MSIX_ID, `call ${n}`);
    machine.hotPlug.requestRemoval("dev");
    machine.guest.serve();
    assert.deepEqual(machine.held(), before, `call ${n}`);
    if (failed) continue;
    assert.ok(n > 40, `only ${n} calls`);
    return;
  }
});

test("HotPlug: whichever system call of a removal fails, the device goes", () => {
  for (let n = 1; ; n++) {
    using machine = new HotPlugMachine();
    const before = machine.held();
    machine.add();
    machine.guest.serve();
    machine.hotPlug.requestRemoval("dev");
    machine.machine.ledger.failAt(n);
    machine.guest.serve();
    const reached = !machine.machine.ledger.stopFailing();
    assert.equal(machine.events.at(-1), "deleted dev", `call ${n}`);
    assert.deepEqual(machine.held(), before, `call ${n}`);
    if (reached) continue;
    assert.ok(n > 20, `only ${n} calls`);
    return;
  }
});

test("HotPlug: a device is asked for once; five seconds later it may be asked for again", () => {
  using machine = new HotPlugMachine();
  const { guest, hotPlug } = machine;
  machine.add();
  guest.serve();
  guest.temper = "silent";
  hotPlug.requestRemoval("dev");
  machine.now += 4999;
  assert.throws(() => hotPlug.requestRemoval("dev"), {
    code: "DEVICE_BUSY",
    message: "Device dev is already in the process of unplug",
  });
  machine.now += 1;
  hotPlug.requestRemoval("/machine/peripheral/dev");
  guest.serve();
  assert.deepEqual(machine.take(), [], "it took the event and did nothing");
  guest.temper = "complies";
  machine.now += 5000;
  hotPlug.requestRemoval("dev");
  guest.serve();
  assert.deepEqual(machine.take(), ["deleted dev"]);
});

test("HotPlug: a guest that keeps the device says so, and can be asked at once", () => {
  using machine = new HotPlugMachine();
  const { guest, hotPlug } = machine;
  machine.add();
  guest.serve();
  guest.temper = "keeps";
  hotPlug.requestRemoval("dev");
  guest.serve();
  assert.deepEqual(machine.take(), ["kept dev"]);
  assert.equal(guest.id(), MSIX_ID);
  guest.temper = "complies";
  hotPlug.requestRemoval("dev");
  guest.serve();
  assert.deepEqual(machine.take(), ["deleted dev"]);
});

test("HotPlug: a reset of the machine completes what a silent guest did not", () => {
  using machine = new HotPlugMachine();
  const { guest, hotPlug } = machine;
  const before = machine.held();
  machine.add();
  guest.serve();
  guest.temper = "silent";
  hotPlug.completeRemovals();
  assert.deepEqual(machine.take(), [], "nothing was asked for");
  hotPlug.requestRemoval("dev");
  hotPlug.completeRemovals();
  assert.deepEqual(machine.take(), ["deleted dev"]);
  machine.machine.root.reset();
  assert.deepEqual(
    machine.held(),
    before.filter((line) => !line.startsWith("section")),
  );
});

test("HotPlug: a guest that takes the power away by itself has let go of the device", () => {
  using machine = new HotPlugMachine();
  machine.add();
  machine.guest.serve();
  machine.machine.root.writeConfig(0x08, 0x54 + 0x18, 2, 0x07e1);
  assert.deepEqual(machine.take(), ["deleted dev"]);
  assert.throws(() => machine.hotPlug.requestRemoval("dev"), { code: "DEVICE_NOT_FOUND" });
});

test("HotPlug: a device in a slot without power goes at once", () => {
  using machine = new HotPlugMachine();
  machine.add();
  machine.hotPlug.requestRemoval("dev");
  assert.deepEqual(machine.take(), ["deleted dev"]);
});

test("spec F25: a host that wants its device back has the guest asked as device_del does", () => {
  using machine = new HotPlugMachine();
  const { guest } = machine;
  const { loop } = machine.machine;
  machine.add();
  guest.serve();
  const request = () => {
    machine.machine.device(MSIX).irqs.notify(VFIO_PCI_REQ_IRQ_INDEX);
    loop.dispatch();
  };
  request();
  request();
  assert.deepEqual(machine.take(), [
    "the guest was asked",
    "Device dev is already in the process of unplug",
  ]);
  guest.serve();
  assert.deepEqual(machine.take(), ["deleted dev"]);
});

test("HotPlug: refusals are those of QEMU", () => {
  using machine = new HotPlugMachine([{}, { hotplug: "off" }]);
  const { hotPlug } = machine;
  const before = machine.held();
  const refused = (driver: string, properties: Record<string, string>, message: RegExp) =>
    assert.throws(() => hotPlug.add(option(driver, properties), machine.make), { message });
  refused("vfio-pci", { host: MSIX, bus: "pcie.0" }, /Bus 'pcie\.0' does not support hotplugging/);
  refused("pcie-root-port", { id: "rp9" }, /Device 'pcie-root-port' does not support hotplugging/);
  refused("vfio-pci", { host: MSIX, bus: "rp9" }, /Bus 'rp9' not found/);
  refused(
    "vfio-pci",
    { host: MSIX, bus: "rp1" },
    /Hot-plug failed: unsupported by the port device 'rp1'/,
  );
  refused(
    "vfio-pci-nohotplug",
    { host: MSIX, bus: "rp0" },
    /Device 'vfio-pci-nohotplug' does not support hotplugging/,
  );
  refused("vfio-pci", { host: MSIX, bus: "rp0", id: "rp0" }, /Duplicate device ID 'rp0'/);
  refused("vfio-pci", { host: MSIX, bus: "rp0", addr: "1" }, /a port has slot 0 only/);
  assert.deepEqual(machine.held(), before);
  assert.throws(() => hotPlug.requestRemoval("nobody"), { message: "Device 'nobody' not found" });
  assert.throws(() => hotPlug.requestRemoval("rp0"), {
    message: "Bus 'pcie.0' does not support hotplugging",
  });
  machine.add();
  refused("vfio-pci", { host: EDU, bus: "rp0" }, /Cannot use slot 0 function 0|No free slot/);
  refused("vfio-pci", { host: EDU }, /No root port has a free slot/);
  machine.guest.serve();
  machine.machine.root.writeConfig(0x08, 0x54 + 0x18, 2, 0x02e1);
  assert.throws(() => hotPlug.requestRemoval("dev"), {
    message: "Hot-unplug failed: guest is busy (power indicator blinking)",
  });
  refused("vfio-pci", { host: EDU, bus: "rp0" }, /Hot-plug failed: guest is busy/);
});
