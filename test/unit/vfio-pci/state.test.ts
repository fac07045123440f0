import assert from "node:assert/strict";
import { test } from "node:test";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import { msixTestSpec } from "../../../src/sim/devices/msix.ts";
import { loadPciState, savePciState } from "../../../src/vfio/pci/saved-state.ts";
import { BDF, TestMachine } from "./machine.ts";

test("spec F27: loading a state writes COMMAND to the device and turns MSI-X on", () => {
  using source = new TestMachine({ devices: [{ spec: msixTestSpec(BDF), group: 7 }] });
  using from = source.assign();
  from.writeConfig(0x20, 4, 0xfd00_0000);
  from.writeConfig(0x04, 2, 0x0006);
  for (const [at, value] of [
    [0, 0xfee0_1000n],
    [8, 0x51n],
    [12, 0n],
  ] as const) {
    source.memory.write(0xfd00_1000n + BigInt(at), 4, value);
  }
  from.writeConfig(from.msix!.offset + 2, 2, 0x8000);
  const state = savePciState(from);

  using target = new TestMachine({ devices: [{ spec: msixTestSpec(BDF), group: 7 }] });
  using to = target.assign();
  loadPciState(to, state);
  const log = target.take();
  assert(log.includes("write config 0x4+2=0x6"));
  assert(log.includes("SET_IRQS MSIX 0 TRIGGER [fd]"));
  assert.equal(log.filter((line) => line.startsWith("write config 0x1")).length, 0);
  assert.equal(to.barAddress(4), 0xfd00_0000n);
  assert.deepEqual([...target.routes.routes.values()], [{ address: 0xfee0_1000n, data: 0x51 }]);
  assert.deepEqual(savePciState(to), state);
});

test("spec F27: loading a state turns MSI on", () => {
  using source = new TestMachine({ devices: [{ spec: eduSpec(BDF), group: 7 }] });
  using from = source.assign();
  from.writeConfig(from.msi!.offset + 2, 2, 1);
  using target = new TestMachine({ devices: [{ spec: eduSpec(BDF), group: 7 }] });
  using to = target.assign();
  loadPciState(to, savePciState(from));
  assert.equal(to.interrupts.mode, "msi");
});

test("loadPciState: another device's state is refused before anything changes", () => {
  using source = new TestMachine({ devices: [{ spec: eduSpec(BDF), group: 7 }] });
  using from = source.assign();
  const state = savePciState(from);
  using target = new TestMachine({ devices: [{ spec: eduSpec(BDF), group: 7 }] });
  using to = target.assign();
  const before = to.config.bytes.slice();
  for (const bad of [state.slice(1), state.with(4 + 2, 0x77), state.with(0, 9)]) {
    assert.throws(() => loadPciState(to, bad), /Bad config data/);
    assert.deepEqual(to.config.bytes, before);
  }
});

test("LegacyVga: x-vga shows the three ranges, each live with its COMMAND bit", () => {
  const spec = { ...eduSpec(BDF), classCode: 0x030000, vga: true };
  using machine = new TestMachine({ devices: [{ spec, group: 7 }] });
  const fn = machine.assign({ "x-vga": "on" });
  assert.equal(machine.memory.find(0xa0000n), undefined);
  fn.writeConfig(0x04, 2, 0x0001);
  assert.equal(machine.memory.find(0xa0000n), undefined);
  machine.take();
  machine.io.write(0x3c4n, 2, 0x0102n);
  assert.deepEqual(machine.take(), ["write region 8 0x3c4+2=0x102"]);
  fn.writeConfig(0x04, 2, 0x0002);
  machine.take();
  machine.memory.read(0xb8000n, 4);
  assert.deepEqual(machine.take(), ["read region 8 0xb8000+4"]);
  assert.equal(machine.io.find(0x3c4n), undefined);
  fn[Symbol.dispose]();
  assert.equal(machine.memory.find(0xa0000n), undefined);
});

test("LegacyVga: x-vga on a device without the region is refused with a hint", () => {
  using machine = new TestMachine({ devices: [{ spec: eduSpec(BDF), group: 7 }] });
  assert.throws(
    () => machine.assign({ "x-vga": "on" }),
    (error: { message: string; nextStep: string }) =>
      /VGA region index 8/.test(error.message) && /x-vga/.test(error.nextStep),
  );
});
