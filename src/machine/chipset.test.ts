import assert from "node:assert/strict";
import { test } from "node:test";
import type { MsiMessage } from "../pci/platform.ts";
import { AcpiPm } from "./acpi-pm.ts";
import { FastReset, KeyboardReset, ResetControl } from "./reset-ports.ts";
import { RtcCmos } from "./rtc-cmos.ts";
import { SplitIoapic } from "./split-ioapic.ts";

function pm() {
  const log: string[] = [];
  let sci = false;
  const block = new AcpiPm({
    setSci: (level) => {
      if (level !== sci) log.push(`sci ${level}`);
      sci = level;
    },
    powerOff: () => void log.push("off"),
  });
  return { block, log };
}

test("AcpiPm powers off on SLP_EN with the S5 type only", () => {
  const { block, log } = pm();
  block.write(4, 2, (3 << 10) | (1 << 13));
  assert.deepEqual(log, []);
  block.write(4, 2, (5 << 10) | (1 << 13));
  assert.deepEqual(log, ["off"]);
  assert.equal(block.read(4, 2), (5 << 10) | 1);
});

test("AcpiPm raises the SCI for an enabled power button until its status is cleared", () => {
  const { block, log } = pm();
  block.pressPowerButton();
  assert.deepEqual(log, []);
  block.write(2, 2, 1 << 8);
  assert.deepEqual(log, ["sci true"]);
  assert.equal(block.read(0, 4), 0x0100_0100);
  block.write(0, 2, 1 << 8);
  assert.deepEqual(log, ["sci true", "sci false"]);
});

test("AcpiPm's timer runs", async () => {
  const { block } = pm();
  const before = block.read(8, 4);
  await new Promise((resolve) => setTimeout(resolve, 5));
  const ticks = (block.read(8, 4) - before) >>> 0;
  assert.ok(ticks > 10_000, `${ticks} ticks in 5 ms`);
});

test("ResetControl, KeyboardReset and FastReset reset once, on the right write", () => {
  let resets = 0;
  const count = () => void resets++;
  const control = new ResetControl(count);
  control.write(0, 1, 0x02);
  assert.equal(resets, 0);
  control.write(0, 1, 0x06);
  assert.equal(resets, 1);
  const keyboard = new KeyboardReset(count);
  keyboard.write(0, 1, 0xd1);
  keyboard.write(0, 1, 0xfe);
  assert.equal(resets, 2);
  const fast = new FastReset(count);
  fast.write(0, 1, 0x02);
  assert.equal(fast.read(), 0x02);
  fast.write(0, 1, 0x01);
  assert.equal(resets, 3);
});

test("RtcCmos tells the host's time in BCD and lets the guest move its own clock", () => {
  using rtc = new RtcCmos(() => {});
  const at = (index: number) => {
    rtc.write(0, 1, index);
    return rtc.read(1);
  };
  const set = (index: number, value: number) => {
    rtc.write(0, 1, index);
    rtc.write(1, 1, value);
  };
  const year = new Date().getUTCFullYear();
  assert.equal(at(0x32).toString(16) + at(9).toString(16).padStart(2, "0"), String(year));
  set(9, 0x99);
  assert.equal(at(9), 0x99);
  set(0x40, 0xa5);
  assert.equal(at(0x40), 0xa5);
  assert.equal(at(0x0d), 0x80);
});

test("RtcCmos raises its interrupt at the next second when updates are enabled", async () => {
  const levels: boolean[] = [];
  using rtc = new RtcCmos((level) => void levels.push(level));
  rtc.write(0, 1, 0x0b);
  rtc.write(1, 1, 0x12);
  // The device's timer does not hold the process; the test has to.
  await new Promise((resolve) => setTimeout(resolve, 1100));
  assert.equal(levels[0], true);
  rtc.write(0, 1, 0x0c);
  assert.equal(rtc.read(1) & 0x90, 0x90);
  assert.equal(levels.at(-1), false);
});

function ioapic() {
  const sent: MsiMessage[] = [];
  const routes = new Map<number, MsiMessage | undefined>();
  const ended: number[] = [];
  const chip = new SplitIoapic({
    deliver: (message) => void sent.push(message),
    routeChanged: (pin, message) => void routes.set(pin, message),
    ended: (pin) => void ended.push(pin),
  });
  const set = (index: number, value: number) => {
    chip.write(0, 4, index);
    chip.write(0x10, 4, value);
  };
  const get = (index: number) => {
    chip.write(0, 4, index);
    return chip.read(0x10);
  };
  return { chip, sent, routes, ended, set, get };
}

test("SplitIoapic describes 24 pins and routes an unmasked entry", () => {
  const { get, set, routes } = ioapic();
  assert.equal(get(1), 0x0017_0020);
  set(0x10 + 4 * 2 + 1, 0x0300_0000);
  set(0x10 + 4 * 2, 0x34);
  assert.deepEqual(routes.get(4), { address: 0xfee0_3000n, data: 0x34 });
  set(0x10 + 4 * 2, 0x1_0034);
  assert.equal(routes.get(4), undefined);
});

test("SplitIoapic sends an edge once, and drops it while masked", () => {
  const { chip, sent, set } = ioapic();
  chip.setLine(4, true);
  chip.setLine(4, false);
  set(0x18, 0x34);
  assert.equal(sent.length, 0);
  chip.setLine(4, true);
  chip.setLine(4, true);
  assert.equal(sent.length, 1);
});

test("SplitIoapic repeats a level at end of interrupt while the line is high", () => {
  const { chip, sent, set, get } = ioapic();
  set(0x10 + 16 * 2, 0x8041);
  chip.setLine(16, true);
  chip.setLine(16, true);
  assert.deepEqual(sent, [{ address: 0xfee0_0000n, data: 0xc041 }]);
  assert.equal(get(0x30) & 0x4000, 0x4000);
  chip.endOfInterrupt(0x41);
  assert.equal(sent.length, 2);
  chip.setLine(16, false);
  chip.endOfInterrupt(0x41);
  assert.equal(sent.length, 2);
  assert.equal(get(0x30) & 0x4000, 0);
});

test("SplitIoapic tells the end of a level pin, of an edge never", () => {
  const { chip, set, ended } = ioapic();
  set(0x10 + 4 * 2, 0x41);
  set(0x10 + 16 * 2, 0x8041);
  set(0x10 + 17 * 2, 0x8042);
  ended.length = 0;
  chip.endOfInterrupt(0x41);
  assert.deepEqual(ended, [16]);
  chip.write(0x40, 4, 0x42);
  assert.deepEqual(ended, [16, 17]);
});

test("SplitIoapic takes an unmask and a new vector for an end: the old one's may be lost", () => {
  const { set, ended } = ioapic();
  set(0x10 + 16 * 2, 0x1_8041);
  assert.deepEqual(ended, [], "masked: whoever fires now is not heard");
  set(0x10 + 16 * 2, 0x8041);
  set(0x10 + 16 * 2, 0x8041);
  assert.deepEqual(ended, [16]);
  set(0x10 + 16 * 2, 0x8042);
  set(0x10 + 16 * 2 + 1, 0x0100_0000);
  assert.deepEqual(ended, [16, 16, 16]);
});
