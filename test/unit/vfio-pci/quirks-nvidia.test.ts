/** NVIDIA's ways to config space, and the writes that become ioeventfds. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { configBackDoor } from "../../../src/sim/devices/config-back-door.ts";
import type { PciDeviceSpec } from "../../../src/sim/pci-spec.ts";
import { BDF, TestMachine } from "./machine.ts";

const BAR0 = 0xe000_0000n;
const PORTS = 0xe000n;
const MIRROR = BAR0 + 0x8_8000n;

const geforce: PciDeviceSpec = {
  address: BDF,
  vendorId: 0x10de,
  deviceId: 0x13c2,
  classCode: 0x030000,
  vga: true,
  msi: { vectors: 1 },
  bars: {
    0: { size: 0x10_0000, kind: "mem32" },
    1: { size: 0x1_0000, kind: "mem64", prefetchable: true },
    5: { size: 0x80, kind: "io" },
  },
  behaviour: (device) => ({
    bars: { 5: configBackDoor(device, { address: 8, data: 0xc, match: 0x1800, mask: 0xff }) },
  }),
};

function card(given: Record<string, string> = { "x-vga": "on" }, changes = {}) {
  const machine = new TestMachine({ devices: [{ spec: { ...geforce, ...changes }, group: 7 }] });
  const fn = machine.assign(given);
  fn.writeConfig(0x10, 4, Number(BAR0));
  fn.writeConfig(0x24, 4, Number(PORTS));
  fn.writeConfig(0x04, 2, 0x0003);
  machine.take();
  const inRegion = (region: number) =>
    machine.take().filter((line) => line.includes(`region ${region} `));
  return { machine, fn, io: machine.io, memory: machine.memory, inRegion };
}

test("spec Q5: the back door of VGA ports leads to the guest's config space", () => {
  const { machine, fn, io, inRegion } = card();
  using _machine = machine;
  using _fn = fn;
  io.write(0x3d4n, 2, 0x338n);
  io.write(0x3d0n, 2, 0x1810n);
  io.write(0x3d4n, 2, 0x538n);
  assert.equal(inRegion(8).length, 3);
  assert.equal(io.read(0x3d0n, 2), BAR0 & 0xffffn);
  assert.deepEqual(inRegion(8), ["read region 8 0x3d0+2"]);
  // Read once; the next is the card's.
  machine.device().barWrite(8, 0x3d0, new Uint8Array([0x34, 0x12]));
  assert.equal(io.read(0x3d0n, 2), 0x1234n);
});

test("spec Q5: any deviation closes the back door", () => {
  const { machine, fn, io } = card();
  using _machine = machine;
  using _fn = fn;
  const open = () => {
    io.write(0x3d4n, 2, 0x338n);
    io.write(0x3d0n, 2, 0x1804n);
    io.write(0x3d4n, 2, 0x538n);
  };
  const deviations = [
    () => io.read(0x3d4n, 2),
    () => io.write(0x3d4n, 2, 0x11n),
    () => io.write(0x3d4n, 2, 0x538n),
    () => io.write(0x3d4n, 2, 0x338n),
    () => io.write(0x3d0n, 2, 0x1804n),
  ];
  fn.writeConfig(0x04, 2, 0x0007);
  for (const deviate of deviations) {
    open();
    deviate();
    machine.device().barWrite(8, 0x3d0, new Uint8Array([0xaa, 0xbb]));
    assert.equal(io.read(0x3d0n, 2), 0xbbaan);
    io.read(0x3d4n, 2);
  }
  open();
  assert.equal(io.read(0x3d0n, 2), 0x0007n);
});

test("spec Q5: a write through the back door is not forwarded, one outside of it is", () => {
  const { machine, fn, io, inRegion } = card();
  using _machine = machine;
  using _fn = fn;
  const write = (offset: bigint) => {
    io.write(0x3d4n, 2, 0x338n);
    io.write(0x3d0n, 2, offset);
    io.write(0x3d4n, 2, 0x738n);
    inRegion(8);
    io.write(0x3d0n, 1, 0x44n);
  };
  write(0x183cn);
  assert.deepEqual(inRegion(8), []);
  assert.equal(fn.readConfig(0x3c, 1), 0x44);
  write(0x193cn);
  assert.deepEqual(inRegion(8), ["write region 8 0x3d0+1=0x44"]);
});

test("spec Q6: BAR 5's window is there while bit 0 of master and of enable is set", () => {
  const { machine, fn, io } = card();
  using _machine = machine;
  using _fn = fn;
  const barSeen = () => {
    io.write(PORTS + 8n, 4, 0x1824n);
    return io.read(PORTS + 0xcn, 4);
  };
  const host = 0xc001n;
  const guest = PORTS | 1n;
  assert.equal(barSeen(), host);
  io.write(PORTS, 4, 1n);
  assert.equal(barSeen(), host);
  io.write(PORTS + 4n, 4, 3n);
  assert.equal(barSeen(), guest);
  assert.equal(io.read(PORTS + 4n, 4), 3n);
  io.write(PORTS + 8n, 4, 0x8_8024n);
  assert.equal(io.read(PORTS + 0xcn, 4), guest);
  io.write(PORTS, 4, 2n);
  assert.equal(barSeen(), host);
  io.write(PORTS, 4, 1n);
  assert.equal(barSeen(), guest);
  io.write(PORTS + 4n, 4, 0n);
  assert.equal(barSeen(), host);
});

test("spec Q7: BAR 0's mirror at 0x88000 needs no VGA ranges, the one at 0x1800 does", () => {
  for (const given of [{}, { "x-vga": "on" }]) {
    const { machine, fn, memory } = card(given);
    using _machine = machine;
    using _fn = fn;
    const small = "x-vga" in given;
    assert.equal(memory.read(MIRROR + 0x10n, 4), BAR0);
    assert.equal(memory.read(BAR0 + 0x1810n, 4), small ? BAR0 : 0n);
    // The mapping ends where the mirror begins and goes on behind it.
    const kinds = [0x8_7ffcn, 0x8_8000n, 0x8_8ffcn, 0x8_9000n].map(
      (offset) => memory.find(BAR0 + offset)?.region.kind,
    );
    assert.deepEqual(kinds, ["ram-device", "io", "io", "ram-device"]);
  }
});

test("spec Q7: a device that is no VGA controller has no mirror", () => {
  const { machine, fn, memory } = card({}, { classCode: 0x030200 });
  using _machine = machine;
  using _fn = fn;
  assert.equal(memory.find(MIRROR)?.region.kind, "ram-device");
});

test("spec Q8: a write to the MSI capability's ID reaches the card, a wider one does not", () => {
  const { machine, fn, memory, inRegion } = card();
  using _machine = machine;
  using _fn = fn;
  const at = BigInt(fn.interrupts.msi!.capability.offset);
  memory.write(MIRROR + at, 1, 0xffn);
  const register = (0x8_8000n + at).toString(16);
  assert.deepEqual(inRegion(0), [`write region 0 0x${register}+1=0xff`]);
  memory.write(MIRROR + at, 4, 0xffn);
  memory.write(MIRROR + at + 2n, 1, 0n);
  assert.deepEqual(inRegion(0), []);
  assert.equal(fn.readConfig(Number(at), 1), 0x05);
});

/** The write of NVIDIA's driver after each interrupt. */
const acknowledge = (memory: TestMachine["memory"], times: number, offset = 0x704n) => {
  for (let i = 0; i < times; i++) memory.write(MIRROR + offset, 4, 0n);
};

test("spec Q9: the 10th equal write makes an ioeventfd, which the kernel carries out", async () => {
  const { machine, fn, memory } = card();
  using _machine = machine;
  using _fn = fn;
  acknowledge(memory, 9);
  memory.write(MIRROR + 0x704n, 4, 1n);
  acknowledge(memory, 9);
  assert.deepEqual(machine.ioeventfds, []);
  acknowledge(memory, 1);
  const [{ fd, ...request } = { fd: -1 }] = machine.ioeventfds;
  const address = MIRROR + 0x704n;
  assert.deepEqual(request, { address, size: 4, space: "memory", datamatch: 0n });
  const armed = () => machine.host.describe().filter((line) => line.includes("ioeventfd"));
  assert.deepEqual(armed(), [`${BDF} ioeventfd BAR 0 0x88704+4=0x0`]);
  const device = machine.device();
  device.barWrite(0, 0x8_8704, new Uint8Array(4).fill(0xff));
  machine.sys.write(fd, new BigUint64Array([1n]));
  device.ioeventfds.poll();
  assert.deepEqual(device.barRead(0, 0x8_8704, 4), new Uint8Array(4));
  // More of the same, before KVM takes it, make no second one.
  acknowledge(memory, 30);
  assert.equal(machine.ioeventfds.length, 1);
});

test("spec Q9: KVM's end follows the BAR", () => {
  const { machine, fn, memory } = card();
  using _machine = machine;
  using _fn = fn;
  acknowledge(memory, 10);
  fn.writeConfig(0x10, 4, 0xd000_0000);
  assert.deepEqual(
    machine.ioeventfds.map(({ address }) => address),
    [0xd008_8704n],
  );
  fn.writeConfig(0x04, 2, 0);
  assert.deepEqual(machine.ioeventfds, []);
});

test("spec Q9: of eleven hot writes ten are accelerated, one is told of; a reset ends all", () => {
  const { machine, fn, memory } = card();
  using _machine = machine;
  using _fn = fn;
  for (let i = 0n; i < 11n; i++) acknowledge(memory, 12, 0x700n + 4n * i);
  acknowledge(memory, 12, 0x800n);
  assert.equal(machine.ioeventfds.length, 10);
  const warned = () => machine.reports.filter((line) => line.includes("accelerated"));
  assert.equal(warned().length, 1);
  fn.reset();
  assert.deepEqual(machine.ioeventfds, []);
  assert.ok(!machine.host.describe().some((line) => line.includes("ioeventfd")));
  fn.writeConfig(0x10, 4, Number(BAR0));
  fn.writeConfig(0x04, 2, 0x0003);
  acknowledge(memory, 10);
  assert.equal(machine.ioeventfds.length, 1);
});

test("spec Q9: writes to the header are not counted", () => {
  const { machine, fn, memory } = card();
  using _machine = machine;
  using _fn = fn;
  acknowledge(memory, 20, 0x3cn);
  assert.deepEqual(machine.ioeventfds, []);
});

test("spec Q10: without the kernel's end the write is made here", () => {
  const { machine, fn, memory, inRegion } = card({ "x-no-vfio-ioeventfd": "on" });
  using _machine = machine;
  using _fn = fn;
  acknowledge(memory, 10);
  assert.ok(!machine.host.describe().some((line) => line.includes("ioeventfd")));
  machine.sys.write(machine.ioeventfds[0]!.fd, new BigUint64Array([1n]));
  inRegion(0);
  machine.loop.dispatch();
  assert.deepEqual(inRegion(0), ["write region 0 0x88704+4=0x0"]);
});

test("spec Q10: with x-no-kvm-ioeventfd nothing is accelerated", () => {
  const { machine, fn, memory } = card({ "x-no-kvm-ioeventfd": "on" });
  using _machine = machine;
  using _fn = fn;
  acknowledge(memory, 30);
  assert.deepEqual(machine.ioeventfds, []);
});

test("spec Q11: x-no-geforce-quirks leaves no trap, but the GPUDirect clique", () => {
  const { machine, fn, memory, io, inRegion } = card({
    "x-vga": "on",
    "x-no-geforce-quirks": "on",
    "x-nv-gpudirect-clique": "3",
  });
  using _machine = machine;
  using _fn = fn;
  assert.equal(memory.find(MIRROR)?.region.kind, "ram-device");
  io.write(0x3d4n, 2, 0x338n);
  io.write(0x3d0n, 2, 0x1810n);
  io.write(0x3d4n, 2, 0x538n);
  assert.equal(io.read(0x3d0n, 2), 0x1810n);
  assert.equal(inRegion(8).length, 4);
  io.write(PORTS, 4, 1n);
  io.write(PORTS + 4n, 4, 1n);
  io.write(PORTS + 8n, 4, 0x1824n);
  assert.equal(io.read(PORTS + 0xcn, 4), 0xc001n);
  assert.equal(fn.readConfig(0xc8, 1), 0x09);
});

test("ioeventfds: one that KVM refuses leaves nothing behind, and the write stays trapped", () => {
  const { machine, fn, memory } = card();
  using _machine = machine;
  using _fn = fn;
  machine.ioeventfdsMax = 0;
  const before = machine.ledger.live().length;
  acknowledge(memory, 12);
  assert.equal(machine.ledger.live().length, before);
  assert.ok(!machine.host.describe().some((line) => line.includes("ioeventfd")));
  assert.ok(machine.reports.some((line) => line.includes("KVM refuses an ioeventfd")));
});

test("ioeventfds: an end of the guest leaves nothing of them behind", () => {
  const { machine, fn, memory } = card();
  using _machine = machine;
  acknowledge(memory, 10);
  fn[Symbol.dispose]();
  assert.deepEqual(machine.ioeventfds, []);
  assert.deepEqual(machine.host.describe(), []);
});
