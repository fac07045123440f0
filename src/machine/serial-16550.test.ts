import assert from "node:assert/strict";
import { test } from "node:test";
import { Serial16550 } from "./serial-16550.ts";

const REG = { data: 0, ier: 1, iir: 2, fcr: 2, lcr: 3, mcr: 4, lsr: 5, msr: 6, scratch: 7 };

function port() {
  const log: string[] = [];
  const serial = new Serial16550(Serial16550.createMemory(), {
    raise: () => void log.push("irq"),
    outputReady: () => void log.push("output"),
    inputWanted: () => void log.push("room"),
  });
  return { serial, log };
}

const bytes = (text: string) => new TextEncoder().encode(text);

test("Serial16550 passes the guest's bytes out and tells the main thread once", () => {
  const { serial, log } = port();
  for (const byte of bytes("hello")) serial.write(REG.data, byte);
  assert.deepEqual(log, ["output"]);
  assert.equal(Buffer.from(serial.takeOutput(true)).toString(), "hello");
  serial.write(REG.data, 0x21);
  assert.deepEqual(log, ["output", "output"]);
});

test("Serial16550 keeps scratch and the divisor latch apart from data", () => {
  const { serial } = port();
  serial.write(REG.scratch, 0x5a);
  assert.equal(serial.read(REG.scratch), 0x5a);
  serial.write(REG.lcr, 0x83);
  serial.write(REG.data, 0x01);
  serial.write(REG.ier, 0x02);
  assert.deepEqual([serial.read(REG.data), serial.read(REG.ier)], [1, 2]);
  serial.write(REG.lcr, 0x03);
  assert.equal(serial.read(REG.ier), 0);
  assert.equal(serial.takeOutput(true).length, 0);
});

test("Serial16550 requests THR-empty when it is enabled, and withdraws it when IIR is read", () => {
  const { serial, log } = port();
  serial.write(REG.ier, 0x02);
  assert.deepEqual(log, ["irq"]);
  assert.equal(serial.read(REG.iir), 0x02);
  assert.equal(serial.read(REG.iir), 0x01);
  serial.write(REG.data, 0x41);
  assert.deepEqual(log, ["irq", "irq", "output"]);
  serial.write(REG.ier, 0);
  assert.equal(serial.read(REG.iir), 0x01);
  serial.write(REG.ier, 0x02);
  assert.equal(serial.read(REG.iir), 0x02, "Linux tests this twice to find a faulty UART");
});

test("Serial16550 interrupts for input until all of it is read, ahead of THR-empty", () => {
  const { serial, log } = port();
  serial.write(REG.fcr, 0x01);
  serial.write(REG.ier, 0x01);
  assert.equal(serial.offerInput(bytes("ab")), 2);
  assert.deepEqual(log, ["irq"]);
  serial.write(REG.ier, 0x03);
  assert.equal(serial.read(REG.iir), 0xc4);
  assert.equal(serial.read(REG.lsr) & 1, 1);
  assert.equal(serial.read(REG.data), 0x61);
  assert.equal(serial.read(REG.data), 0x62);
  assert.equal(serial.read(REG.lsr), 0x60);
  assert.equal(serial.read(REG.iir), 0xc2);
  assert.equal(serial.read(REG.iir), 0xc1);
});

test("Serial16550 takes as much input as fits and asks for more when half is read", () => {
  const { serial, log } = port();
  const taken = serial.offerInput(new Uint8Array(5000));
  assert.equal(taken, 4096);
  for (let i = 0; i < 3000; i++) serial.read(REG.data);
  assert.deepEqual(log, ["room"]);
});

test("Serial16550 loops modem lines and data back", () => {
  const { serial } = port();
  serial.write(REG.mcr, 0x1a);
  assert.equal(serial.read(REG.msr) & 0xf0, 0x90);
  serial.write(REG.data, 0x33);
  assert.equal(serial.read(REG.data), 0x33);
  assert.equal(serial.takeOutput(true).length, 0);
  serial.write(REG.mcr, 0);
  assert.equal(serial.read(REG.msr) & 0xf0, 0xb0);
});

test("Serial16550 shows a full transmitter while nobody drains, and counts what is lost", () => {
  const { serial } = port();
  for (let i = 0; i < 65536; i++) serial.write(REG.data, 0x2e);
  assert.equal(serial.read(REG.lsr) & 0x60, 0);
  serial.write(REG.data, 0x2e);
  assert.equal(serial.dropped, 1);
  assert.equal(serial.takeOutput(true).length, 65536);
  assert.equal(serial.read(REG.lsr) & 0x60, 0x60);
});

test("Serial16550.reset forgets what the guest set", () => {
  const { serial } = port();
  serial.write(REG.ier, 0x0f);
  serial.write(REG.mcr, 0x0b);
  serial.reset();
  assert.deepEqual(
    [REG.ier, REG.iir, REG.mcr].map((r) => serial.read(r)),
    [0, 1, 0],
  );
});
