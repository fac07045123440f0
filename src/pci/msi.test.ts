import assert from "node:assert/strict";
import { test } from "node:test";
import { devfnOf } from "./bus.ts";
import { PciFunction } from "./function.ts";
import { MsiCapability, type MsiShape, msiCapabilitySize, msiShapeOf } from "./msi.ts";
import { RecordingPlatform } from "./recording-platform.ts";
import { RootComplex } from "./root-complex.ts";

const AT = 0x50;

function machine(shape: MsiShape) {
  const platform = new RecordingPlatform();
  const root = new RootComplex({ platform });
  const fn = new PciFunction({ name: "device", bus: root.bus, devfn: devfnOf(2) });
  const msi = MsiCapability.create(fn, shape, AT);
  root.bus.attach(fn);
  fn.writeConfig(0x04, 2, 6);
  return { platform, fn, msi };
}

test("MsiCapability has the size and control word of its shape", () => {
  for (const is64Bit of [false, true]) {
    for (const maskable of [false, true]) {
      const { fn } = machine({ is64Bit, maskable, vectors: 8 });
      const control = fn.readConfig(AT + 2, 2);
      assert.deepEqual(msiShapeOf(control), { is64Bit, maskable, vectors: 8 });
      fn.writeConfig(AT + 2, 2, 0xffff);
      assert.equal(fn.readConfig(AT + 2, 2), control | 0x71);
    }
  }
  assert.equal(msiCapabilitySize({ is64Bit: false, maskable: false }), 10);
  assert.equal(msiCapabilitySize({ is64Bit: true, maskable: false }), 14);
  assert.equal(msiCapabilitySize({ is64Bit: false, maskable: true }), 20);
  assert.equal(msiCapabilitySize({ is64Bit: true, maskable: true }), 24);
});

test("a message carries the vector in its low data bits", () => {
  const { platform, fn, msi } = machine({ is64Bit: true, maskable: false, vectors: 8 });
  fn.writeConfig(AT + 4, 4, 0xfee01003);
  fn.writeConfig(AT + 8, 4, 0x1);
  fn.writeConfig(AT + 12, 2, 0x4047);
  msi.notify(0);
  assert.deepEqual(platform.delivered, [], "not enabled");
  fn.writeConfig(AT + 2, 2, 0x21);
  assert.equal(msi.vectors, 4);
  assert.deepEqual(msi.message(2), { address: 0x1_fee0_1000n, data: 0x4046 });
  msi.notify(2);
  assert.deepEqual(platform.delivered, [
    { message: { address: 0x1_fee0_1000n, data: 0x4046 }, requesterId: 0x10 },
  ]);
  fn.writeConfig(AT + 2, 2, 0x71);
  assert.equal(msi.vectors, 8, "never more than the device has");
});

test("a masked vector becomes pending and is delivered when it is unmasked", () => {
  const { platform, fn, msi } = machine({ is64Bit: false, maskable: true, vectors: 4 });
  fn.writeConfig(AT + 4, 4, 0xfee00000);
  fn.writeConfig(AT + 8, 2, 0x30);
  fn.writeConfig(AT + 12, 4, 0xffffffff);
  assert.equal(fn.readConfig(AT + 12, 4), 0xf, "as many mask bits as vectors");
  fn.writeConfig(AT + 2, 2, 0x21);
  msi.notify(1);
  msi.notify(3);
  assert.equal(platform.delivered.length, 0);
  assert.equal(fn.readConfig(AT + 16, 4), 0b1010);
  fn.writeConfig(AT + 12, 4, 0b1101);
  assert.deepEqual(
    platform.delivered.map(({ message }) => message.data),
    [0x31],
  );
  assert.equal(fn.readConfig(AT + 16, 4), 0b1000);
  fn.writeConfig(AT + 2, 2, 0x01);
  assert.equal(fn.readConfig(AT + 16, 4), 0, "QSIZE lowered below what was pending");
});

test("no message leaves a function that is not a bus master; enabling releases INTx", () => {
  const { platform, fn, msi } = machine({ is64Bit: false, maskable: false, vectors: 1 });
  fn.config.bytes[0x3d] = 1;
  fn.setIntx(true);
  assert.equal(platform.lines.size, 1);
  fn.writeConfig(AT + 2, 2, 1);
  assert.equal(platform.lines.size, 0);
  fn.writeConfig(0x04, 2, 2);
  msi.notify(0);
  assert.deepEqual(platform.delivered, []);
});

test("reset turns MSI off and clears address, data and masks", () => {
  const { fn, msi } = machine({ is64Bit: true, maskable: true, vectors: 2 });
  for (let at = AT + 2; at < AT + 24; at += 2) fn.writeConfig(at, 2, 0xffff);
  fn.reset();
  assert.equal(msi.enabled, false);
  assert.equal(fn.readConfig(AT + 2, 2), 0x0182);
  for (let at = AT + 4; at < AT + 24; at += 4) assert.equal(fn.readConfig(at, 4), 0);
});
