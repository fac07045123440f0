import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createAddressSpace } from "../memory/address-space.ts";
import { MemoryRegion } from "../memory/region.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { devfnOf } from "./bus.ts";
import { PciFunction } from "./function.ts";
import { MsixCapability, type MsixOptions } from "./msix.ts";
import { RecordingPlatform } from "./recording-platform.ts";
import { RootComplex } from "./root-complex.ts";

const AT = 0x70;
const CONTROL = AT + 2;
const ENABLE = 0x8000;
const MASKALL = 0x4000;
const PBA = 0x800;
const BAR = 0xe000_0000n;

type Call = ["use" | "release" | "deliver", number];

function machine(entries: number) {
  const platform = new RecordingPlatform();
  const root = new RootComplex({ platform });
  const fn = new PciFunction({ name: "device", bus: root.bus, devfn: devfnOf(2) });
  const container = new MemoryRegion("bar", "io", 0x1000n, {
    handler: { read: () => 0x5a5a5a5a, write: () => {} },
  });
  const table = { bar: 0, offset: 0, container };
  const msix = MsixCapability.create(fn, {
    entries,
    table,
    pba: { ...table, offset: PBA },
    offset: AT,
  });
  fn.registerBar(0, container, { kind: "mem32" });
  root.bus.attach(fn);
  fn.writeConfig(0x10, 4, Number(BAR));
  fn.writeConfig(0x04, 2, 6);
  const calls: Call[] = [];
  const callbacks = {
    use: (vector: number) => void calls.push(["use", vector]),
    release: (vector: number) => void calls.push(["release", vector]),
  };
  const memory = createAddressSpace("memory", root.bus.memory);
  const unmask = (vector: number, masked = false) =>
    memory.write(BAR + BigInt(vector * 16 + 12), 4, masked ? 1n : 0n);
  return { platform, fn, msix, calls, callbacks, memory, unmask };
}

test("MsixCapability says where table and PBA are; ENABLE and MASKALL are writable", () => {
  const { fn, msix } = machine(5);
  assert.equal(fn.readConfig(AT, 1), 0x11);
  assert.equal(fn.readConfig(CONTROL, 2), 4);
  assert.equal(fn.readConfig(AT + 4, 4), 0);
  assert.equal(fn.readConfig(AT + 8, 4), PBA);
  fn.writeConfig(CONTROL, 2, 0xffff);
  assert.equal(fn.readConfig(CONTROL, 2), 0xc004);
  for (let vector = 0; vector < 5; vector++) assert.equal(msix.table[vector * 16 + 12], 1);
});

test("MsixCapability refuses tables that do not fit, overlap or are not aligned", () => {
  const { fn } = machine(1);
  const container = new MemoryRegion("bar", "io", 0x1000n);
  const place = (offset: number, bar = 0) => ({ bar, offset, container });
  const wrong: MsixOptions[] = [
    { entries: 0, table: place(0), pba: place(0x800) },
    { entries: 2049, table: place(0), pba: place(0x800) },
    { entries: 257, table: place(0), pba: place(0x800, 1) },
    { entries: 1, table: place(4), pba: place(0x800) },
    { entries: 1, table: place(0), pba: place(0x1000) },
    { entries: 2, table: place(0), pba: place(0x10) },
    { entries: 1, table: place(0, 6), pba: place(0x800) },
  ];
  for (const options of wrong) {
    assert.throws(
      () => MsixCapability.create(fn, options),
      (error) => error instanceof ViaductError && error.code === "DEVICE_UNSUPPORTED",
    );
  }
});

test("table and PBA lie over the BAR; 8-byte accesses are two of 4", () => {
  const { memory, msix } = machine(4);
  assert.equal(memory.read(BAR + 0x40n, 4), 0x5a5a5a5an, "behind the table");
  memory.write(BAR, 8, 0x1_fee0_2000n);
  memory.write(BAR + 8n, 4, 0x47n);
  assert.deepEqual(msix.message(0), { address: 0x1_fee0_2000n, data: 0x47 });
  assert.equal(memory.read(BAR, 8), 0x1_fee0_2000n);
  msix.setPending(2);
  assert.equal(memory.read(BAR + BigInt(PBA), 8), 4n);
  memory.write(BAR + BigInt(PBA), 8, 0n);
  assert.equal(memory.read(BAR + BigInt(PBA), 4), 4n, "the PBA is read-only");
  msix.setPbaTrapEnabled(false);
  assert.equal(memory.read(BAR + BigInt(PBA), 4), 0x5a5a5a5an);
  msix.setTableTrapEnabled(false);
  assert.equal(memory.read(BAR, 4), 0x5a5a5a5an);
});

test("callbacks follow the effective mask, and ENABLE off calls nothing", () => {
  const { fn, msix, calls, callbacks, unmask } = machine(3);
  unmask(1);
  fn.writeConfig(CONTROL, 2, ENABLE);
  msix.setVectorCallbacks(callbacks);
  assert.deepEqual(calls.splice(0), [["use", 1]]);
  unmask(0);
  fn.writeConfig(CONTROL, 2, ENABLE | MASKALL);
  fn.writeConfig(CONTROL, 2, ENABLE);
  assert.deepEqual(calls.splice(0), [
    ["use", 0],
    ["release", 0],
    ["release", 1],
    ["use", 0],
    ["use", 1],
  ]);
  unmask(0, true);
  unmask(0, true);
  assert.deepEqual(calls.splice(0), [["release", 0]]);
  fn.writeConfig(CONTROL, 2, 0);
  msix.setVectorCallbacks(undefined);
  assert.deepEqual(calls, []);
});

test("rewriting the message of an unmasked entry calls nothing", () => {
  const { fn, msix, calls, callbacks, memory, unmask } = machine(1);
  fn.writeConfig(CONTROL, 2, ENABLE);
  msix.setVectorCallbacks(callbacks);
  unmask(0);
  calls.length = 0;
  memory.write(BAR + 8n, 4, 0x99n);
  assert.deepEqual(calls, []);
  assert.equal(msix.message(0).data, 0x99);
});

test("spec F16: firing while masked sets the PBA; unmask calls use, then delivers", () => {
  const { platform, fn, msix, calls, memory, unmask } = machine(65);
  const order: string[] = [];
  const delivered = platform.delivered;
  msix.setVectorCallbacks({
    use: () => void order.push(`use after ${delivered.length} deliveries`),
    release: () => {},
  });
  fn.writeConfig(CONTROL, 2, ENABLE);
  memory.write(BAR + BigInt(64 * 16), 4, 0xfee00000n);
  msix.notify(64);
  assert.equal(memory.read(BAR + BigInt(PBA + 8), 8), 1n);
  assert.deepEqual(delivered, []);
  unmask(64);
  assert.deepEqual(order, ["use after 0 deliveries"]);
  assert.equal(delivered.length, 1);
  assert.equal(msix.isPending(64), false);
  assert.deepEqual(calls, []);
});

test("reset masks every entry, zeroes table and PBA, and calls nothing", () => {
  const { fn, msix, calls, callbacks, memory, unmask } = machine(2);
  fn.writeConfig(CONTROL, 2, ENABLE);
  msix.setVectorCallbacks(callbacks);
  unmask(0);
  memory.write(BAR + 8n, 4, 0x99n);
  msix.setPending(1);
  calls.length = 0;
  fn.reset();
  assert.deepEqual(calls, []);
  assert.equal(fn.readConfig(CONTROL, 2), 1);
  assert.deepEqual([...msix.pba], new Array(8).fill(0));
  const entry = [...new Array(12).fill(0), 1, 0, 0, 0];
  assert.deepEqual([...msix.table], [...entry, ...entry]);
});

test("dispose takes traps and capability away", () => {
  const { fn, msix, memory } = machine(2);
  msix[Symbol.dispose]();
  msix[Symbol.dispose]();
  assert.equal(fn.config.findCapability(0x11), undefined);
  assert.equal(memory.read(BAR, 4), 0x5a5a5a5an);
  assert.equal(fn.msix, undefined);
});

/** What the rules say, in the fewest words. */
class Oracle {
  readonly calls: Call[] = [];
  readonly masked: boolean[];
  readonly pending: boolean[];
  enabled = false;
  maskAll = false;

  constructor(entries: number) {
    this.masked = new Array(entries).fill(true);
    this.pending = new Array(entries).fill(false);
  }

  effective(vector: number) {
    return !this.enabled || this.maskAll || this.masked[vector]!;
  }

  change(vectors: number[], silent: boolean, apply: () => void) {
    const before = vectors.map((vector) => this.effective(vector));
    apply();
    if (silent) return;
    vectors.forEach((vector, at) => {
      if (before[at] === this.effective(vector)) return;
      this.calls.push([before[at] ? "use" : "release", vector]);
      if (before[at] && this.pending[vector]) {
        this.pending[vector] = false;
        this.calls.push(["deliver", vector]);
      }
    });
  }

  fire(vector: number) {
    if (this.effective(vector)) this.pending[vector] = true;
    else this.calls.push(["deliver", vector]);
  }
}

test("any sequence of masks, enables and interrupts behaves as the oracle says", () => {
  const vector = fc.integer({ min: 0, max: 3 });
  const step = fc.oneof(
    fc.record({ kind: fc.constant("mask" as const), vector, on: fc.boolean() }),
    fc.record({ kind: fc.constant("fire" as const), vector, on: fc.boolean() }),
    fc.record({ kind: fc.constant("control" as const), vector, on: fc.boolean() }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { fn, msix, calls, callbacks, memory, unmask, platform } = machine(4);
      const oracle = new Oracle(4);
      for (let i = 0; i < 4; i++) memory.write(BAR + BigInt(i * 16 + 8), 4, BigInt(i));
      platform.deliverMsi = ({ data }) => void calls.push(["deliver", data]);
      msix.setVectorCallbacks(callbacks);
      for (const { kind, vector, on } of steps) {
        if (kind === "mask") {
          unmask(vector, on);
          oracle.change([vector], false, () => {
            oracle.masked[vector] = on;
          });
        } else if (kind === "fire") {
          msix.notify(vector);
          oracle.fire(vector);
        } else {
          const enabled = vector !== 0;
          fn.writeConfig(CONTROL, 2, (enabled ? ENABLE : 0) | (on ? MASKALL : 0));
          oracle.change([0, 1, 2, 3], !enabled, () => {
            oracle.enabled = enabled;
            oracle.maskAll = on;
          });
        }
        assert.deepEqual(calls, oracle.calls);
        for (let i = 0; i < 4; i++) assert.equal(msix.isPending(i), oracle.pending[i]);
      }
    }),
  );
});
