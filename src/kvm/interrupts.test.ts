import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import {
  KVM_GET_IRQCHIP,
  KVM_IRQCHIP_IOAPIC,
  KVM_SET_IRQCHIP,
  kvm_irqchip,
} from "../abi/kvm-x86.ts";
import { EventFd } from "../sys/event-fd.ts";
import { check } from "../sys/sys-error.ts";
import { COUNT, countingGuest, until, VECTOR } from "./counting-guest.ts";
import {
  asm,
  CODE,
  disposeTinyMachines,
  MAIN_MMIO,
  MAIN_PORT,
  skipWithoutKvm,
  THREAD_PORT,
  TinyMachine,
} from "./tiny-machine.ts";

const limit = { skip: skipWithoutKvm, timeout: 20_000 };

afterEach(disposeTinyMachines);

const MSI = { address: 0xfee0_0000n, data: VECTOR };

/** Writes a redirection entry of the in-kernel I/O APIC, as a guest would through its window. */
function setIoapicEntry(machine: TinyMachine, pin: number, entry: bigint): void {
  const chip = kvm_irqchip.bytes({ chip_id: KVM_IRQCHIP_IOAPIC });
  const { sys, fd } = machine.vm;
  check(sys.ioctl(fd, KVM_GET_IRQCHIP, chip), "KVM_GET_IRQCHIP");
  kvm_irqchip.at(chip).chip.ioapic.redirtbl.set(pin, entry);
  check(sys.ioctl(fd, KVM_SET_IRQCHIP, chip), "KVM_SET_IRQCHIP");
}

for (const irqchip of ["full", "split"] as const) {
  test(`an irqfd interrupts the guest without an exit (${irqchip})`, limit, async () => {
    const machine = countingGuest(irqchip);
    const { routes } = machine.vm;
    {
      using line = EventFd.create(machine.ledger);
      const gsi = routes.add(MSI)!;
      assert.equal(gsi, 24);
      routes.assignIrqfd(gsi, line.fd);
      for (let n = 1; n <= 5; n++) {
        line.signal();
        await until(() => machine.word(COUNT) === n);
      }
      routes.deassignIrqfd(gsi, line.fd);
      line.signal();
      routes.release(gsi);
      assert.equal(routes.add(MSI), gsi, "a released GSI is used again");
    }
    assert.equal(machine.threads.counters.total, 0);
    assert.equal(machine.word(COUNT), 5);
    assert.deepEqual(await machine.end(), []);
  });
}

test("signalMsi delivers from user space, and a bad address is no error", limit, async () => {
  const machine = countingGuest("full");
  await until(() => machine.vm.signalMsi(MSI));
  await until(() => machine.word(COUNT) > 0);
  machine.vm.signalMsi({ address: 0x1000n, data: 0 });
  assert.deepEqual(await machine.end(), []);
});

test(
  "IrqRoutes.batch writes the table once, and an update that changes nothing never",
  limit,
  () => {
    const machine = new TinyMachine({ irqchip: "full" });
    const { routes } = machine.vm;
    const ioctls = () => machine.ledger.calls.filter(({ name }) => name === "ioctl").length;
    const before = ioctls();
    const gsis = routes.batch(() => [routes.add(MSI)!, routes.add({ ...MSI, data: 0x42 })!]);
    assert.equal(ioctls(), before + 1);
    routes.update(gsis[0]!, MSI);
    assert.equal(ioctls(), before + 1);
    routes.update(gsis[0]!, { ...MSI, data: 0x43 });
    assert.equal(ioctls(), before + 2);
    machine[Symbol.dispose]();
    assert.deepEqual(machine.ledger.live(), []);
  },
);

test("a level line with a resamplefd stays up until the guest acknowledges", limit, async () => {
  const machine = countingGuest("full");
  const { routes } = machine.vm;
  {
    using line = EventFd.create(machine.ledger);
    using resample = EventFd.create(machine.ledger);
    // Pin 16 of the I/O APIC, level-triggered, to VECTOR: written as the guest would.
    setIoapicEntry(machine, 16, (1n << 15n) | BigInt(VECTOR));
    routes.assignIrqfd(16, line.fd, resample.fd);
    line.signal();
    await until(() => machine.word(COUNT) === 1);
    await until(() => resample.drain());
    assert.equal(resample.drain(), false);
    routes.deassignIrqfd(16, line.fd);
  }
  assert.deepEqual(await machine.end(), []);
});

test("spec 9.7: split, the routes signal the resamplefd of the pin that ended", limit, async () => {
  const machine = countingGuest("split");
  const { routes } = machine.vm;
  {
    using line = EventFd.create(machine.ledger);
    using resample = EventFd.create(machine.ledger);
    routes.setPin(16, { ...MSI, data: (1 << 15) | VECTOR });
    routes.assignIrqfd(16, line.fd, resample.fd);
    line.signal();
    await until(() => machine.log.includes(`eoi ${VECTOR}`));
    assert.equal(machine.word(COUNT), 1);
    assert.equal(resample.drain(), false);
    routes.endOfInterrupt(17);
    assert.equal(resample.drain(), false);
    routes.endOfInterrupt(16);
    assert.equal(resample.drain(), true);
    routes.deassignIrqfd(16, line.fd);
    routes.endOfInterrupt(16);
    assert.equal(resample.drain(), false);
  }
  assert.deepEqual(await machine.end(), []);
});

test("an ioeventfd takes the matching write without an exit, and only that", limit, async () => {
  const machine = new TinyMachine();
  {
    using port = EventFd.create(machine.ledger);
    using any = EventFd.create(machine.ledger);
    using _port = machine.vm.assignIoeventfd({
      fd: port.fd,
      address: BigInt(MAIN_PORT),
      size: 4,
      space: "port",
      datamatch: 7n,
    });
    using _any = machine.vm.assignIoeventfd({
      fd: any.fd,
      address: BigInt(MAIN_MMIO + 0x10),
      size: 4,
      space: "memory",
    });
    machine.load([
      asm.movDx(MAIN_PORT),
      asm.movEax(7),
      asm.outEax,
      asm.storeEax(MAIN_MMIO + 0x10),
      asm.movEax(8),
      asm.outEax,
      asm.movDx(THREAD_PORT),
      asm.done,
    ]);
    await machine.run();
    assert.equal(port.drain(), true);
    assert.equal(any.drain(), true);
    assert.deepEqual(machine.log, ["out4 20 8"]);
  }
  assert.deepEqual(await machine.end(), []);
});

test("kicks and interrupts at random lose nothing", limit, async () => {
  const machine = countingGuest("full");
  const { routes } = machine.vm;
  {
    using line = EventFd.create(machine.ledger);
    const gsi = routes.add(MSI)!;
    routes.assignIrqfd(gsi, line.fd);
    for (let n = 1; n <= 200; n++) {
      machine.threads.kick(0);
      line.signal();
      if (n % 3 === 0) machine.threads.kick(0);
      await until(() => machine.word(COUNT) === n);
    }
    routes.deassignIrqfd(gsi, line.fd);
  }
  assert.equal(machine.word(CODE) & 0xff, 0xfb);
  assert.deepEqual(await machine.end(), []);
});
