import assert from "node:assert/strict";
import { test } from "node:test";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import { BDF, TestMachine } from "./machine.ts";

test("LegacyVga: x-vga shows the three ranges, each live with its COMMAND bit", () => {
  const spec = { ...eduSpec(BDF), classCode: 0x030000, vga: true };
  using machine = new TestMachine({ devices: [{ spec, group: 7 }] });
  const fn = machine.assign({ "x-vga": "on" });
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
