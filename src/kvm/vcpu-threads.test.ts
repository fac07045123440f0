import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { failEachCall } from "../sim/ledger.ts";
import { nativeSyscalls } from "../sys/native.ts";
import { Owner } from "../sys/owner.ts";
import type { ExitHandler } from "./exit-handler.ts";
import { Kvm } from "./kvm.ts";
import {
  asm,
  disposeTinyMachines,
  MAIN_MMIO,
  MAIN_PORT,
  skipWithoutKvm,
  THREAD_MMIO,
  THREAD_PORT,
  TinyMachine,
} from "./tiny-machine.ts";
import { VcpuThreads } from "./vcpu-threads.ts";

const skip = skipWithoutKvm;
const limit = { skip, timeout: 20_000 };

afterEach(disposeTinyMachines);

test("an exit the thread answers never reaches the main thread", limit, async () => {
  const machine = new TinyMachine();
  machine.words[1] = 0x55aa;
  machine.words[2] = 0x7777_8888;
  machine.load([
    asm.movDx(THREAD_PORT),
    asm.loop(100, asm.outAl),
    asm.inEax,
    asm.storeEax(0x2000),
    asm.loadEax(THREAD_MMIO),
    asm.storeEax(0x2004),
    asm.movEax(0xcafe_f00d),
    asm.storeEax(THREAD_MMIO + 8),
    asm.done,
  ]);
  await machine.run();
  assert.equal(machine.words[0], 100);
  assert.equal(machine.word(0x2000), 0x55aa);
  assert.equal(machine.word(0x2004), 0x7777_8888);
  assert.equal(machine.words[4]! >>> 0, 0xcafe_f00d);
  assert.deepEqual(machine.log, []);
  const counts = machine.threads.counters.snapshot();
  // The payload says that it is done until it is stopped, so those writes may be more than one.
  assert.equal(counts["pio-write"]?.inThread, 100);
  assert.deepEqual(counts["pio-read"], { inThread: 1, forwarded: 0 });
  assert.deepEqual(counts["mmio-read"], { inThread: 1, forwarded: 0 });
  assert.deepEqual(counts["mmio-write"], { inThread: 1, forwarded: 0 });
  assert(machine.threads.counters.total >= 104);
  assert.deepEqual(await machine.end(), []);
});

test("an exit the thread leaves is answered by the main thread's handler", limit, async () => {
  const machine = new TinyMachine();
  machine.load([
    asm.movDx(MAIN_PORT),
    asm.movEax(0xaabb_ccdd),
    asm.outEax,
    asm.inEax,
    asm.storeEax(0x2000),
    asm.loadEax(MAIN_MMIO + 4),
    asm.storeEax(0x2004),
    asm.movEax(0x0102_0304),
    asm.storeEax(MAIN_MMIO + 8),
    asm.storeAl(MAIN_MMIO + 13),
    asm.done,
  ]);
  await machine.run();
  assert.deepEqual(machine.log, [
    "out4 20 aabbccdd",
    "in4 20",
    "read4 e0000004",
    "write4 e0000008 1020304",
    "write1 e000000d 4",
  ]);
  assert.equal(machine.word(0x2000), 0x1234_5678);
  assert.equal(machine.word(0x2004), 0x4433_2211);
  assert.deepEqual(await machine.end(), []);
});

test("an access over a page's end arrives in pieces of powers of two", limit, async () => {
  const machine = new TinyMachine();
  machine.load([asm.movEax(0x4433_2211), asm.storeEax(MAIN_MMIO + 0xfff), asm.done]);
  await machine.run();
  const bytes = new Map<number, number>();
  for (const line of machine.log) {
    const [, size, gpa, value] = /^write(\d) (\w+) (\w+)$/.exec(line)!;
    for (let i = 0; i < Number(size); i++) {
      bytes.set(Number.parseInt(gpa!, 16) + i, (Number.parseInt(value!, 16) >>> (8 * i)) & 0xff);
    }
  }
  assert.deepEqual([...bytes.values()], [0x11, 0x22, 0x33, 0x44]);
  assert.equal(Math.min(...bytes.keys()), MAIN_MMIO + 0xfff);
  assert.deepEqual(await machine.end(), []);
});

test(
  "rep outsb and rep insb arrive as their units, in the thread and forwarded",
  limit,
  async () => {
    const machine = new TinyMachine();
    machine.place(0x3000, [...Buffer.from("hello")]);
    machine.load([
      asm.movDx(MAIN_PORT),
      asm.movEsi(0x3000),
      asm.movEcx(5),
      asm.repOutsb,
      asm.movEdi(0x3100),
      asm.movEcx(4),
      asm.repInsb,
      asm.movDx(THREAD_PORT),
      asm.movEsi(0x3000),
      asm.movEcx(5),
      asm.repOutsb,
      asm.done,
    ]);
    await machine.run();
    const sent = machine.log.filter((line) => line.startsWith("out1 20"));
    assert.deepEqual(
      sent.map((line) => String.fromCharCode(Number.parseInt(line.slice(8), 16))).join(""),
      "hello",
    );
    assert.equal(machine.word(0x3100), 0x7878_7878);
    assert.equal(machine.words[0], 5);
    assert.deepEqual(await machine.end(), []);
  },
);

test("a triple fault is one shutdown, after which the vCPU rests", limit, async () => {
  const machine = new TinyMachine();
  machine.vcpus[0]!.setSregs((sregs) => {
    sregs.idt.limit = 0;
  });
  machine.load([asm.ud2]);
  await machine.run();
  assert.deepEqual(machine.log, ["shutdown"]);
  await machine.threads.paused();
  assert.deepEqual(await machine.end(), []);
});

test(
  "HLT without an interrupt controller is told, and a reset vCPU runs again",
  limit,
  async () => {
    const machine = new TinyMachine();
    machine.load([asm.hlt]);
    await machine.run();
    assert.deepEqual(machine.log, ["halted"]);
    await machine.threads.pause();
    machine.load([asm.movDx(THREAD_PORT), asm.outAl, asm.done]);
    await machine.run();
    assert.equal(machine.words[0], 1);
    assert.deepEqual(await machine.end(), []);
  },
);

for (const [what, code] of [
  ["spinning", asm.spin],
  ["halted", [...asm.sti, ...asm.hlt]],
  ["exiting", [...asm.movDx(THREAD_PORT), 0xee, 0xeb, 0xfd]],
] as const) {
  test(`a ${what} guest is paused, resumed and stopped`, limit, async () => {
    const machine = new TinyMachine({ irqchip: "full" });
    machine.load([code]);
    for (let round = 0; round < 20; round++) {
      machine.threads.resume();
      if (round % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
      await machine.threads.pause();
      machine.vcpus[0]!.getRegs();
    }
    machine.threads.resume();
    assert.deepEqual(await machine.end(), []);
  });
}

test("dispose ends running threads without the event loop", limit, () => {
  const machine = new TinyMachine({ irqchip: "full", vcpus: 2 });
  machine.load([asm.spin]);
  machine.threads.resume();
  machine[Symbol.dispose]();
  assert.deepEqual(machine.ledger.live(), []);
});

test("dispose ends threads that forward without a pause, at once", limit, async () => {
  for (let round = 0; round < 10; round++) {
    const machine = new TinyMachine({ vcpus: 2 });
    const code = [asm.movDx(MAIN_PORT), [0xee, 0xeb, 0xfd]];
    machine.load(code, 0x1000, 0);
    machine.load(code, 0x4000, 1);
    machine.threads.resume();
    while (machine.log.length < 5) await new Promise((resolve) => setImmediate(resolve));
    const start = performance.now();
    machine[Symbol.dispose]();
    assert(performance.now() - start < 2000, "no thread was left asleep");
    assert.deepEqual(machine.ledger.live(), []);
  }
});

test("two vCPUs run at once, each with its own exits", limit, async () => {
  const machine = new TinyMachine({ vcpus: 2 });
  const code = [asm.movDx(THREAD_PORT), asm.loop(500, asm.outAl), asm.incDword(0x2000), asm.spin];
  machine.load(code, 0x1000, 0);
  machine.load(code, 0x4000, 1);
  machine.threads.resume();
  while (machine.word(0x2000) < 2) await new Promise((resolve) => setTimeout(resolve, 2));
  assert.equal(machine.words[0], 1000);
  for (const index of [0, 1]) {
    const counts = machine.threads.counters.snapshot(index);
    assert.deepEqual(counts["pio-write"], { inThread: 500, forwarded: 0 });
  }
  assert.deepEqual(await machine.end(), []);
});

test("VcpuThreads.create: whichever call fails, nothing is held", limit, () => {
  const handler = { pioWrite: () => {} } as unknown as ExitHandler;
  const failed = failEachCall(nativeSyscalls, (sys) => {
    using owner = new Owner();
    const vm = owner.own(owner.own(Kvm.open(sys)).createVm());
    const entry = new URL("tiny-vcpu-entry.js", import.meta.url);
    const vcpus = [owner.own(vm.createVcpu(0))];
    const onCrash = () => {};
    owner.own(VcpuThreads.create(sys, { vcpus, entry, handler, onCrash }));
    return owner.move();
  });
  assert(failed >= 10, `${failed} calls`);
});

test("a Worker that fails by itself is told, and pausing does not wait for it", limit, async () => {
  const machine = new TinyMachine({ entry: new URL("no-such-entry.js", import.meta.url) });
  await assert.rejects(machine.crashed, /vCPU 0: its thread failed/);
  await machine.threads.pause();
  assert.deepEqual(await machine.end(), []);
});
