import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { MIB } from "../../../src/machine/memory-map.ts";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import { msixTestSpec } from "../../../src/sim/devices/msix.ts";
import { skip } from "../run/software-run.ts";
import { RandomGuest } from "./random-guest.ts";
import { StillMachine, type StillMachineOptions } from "./still-machine.ts";

const RUNS = 6;
const ACTS = 12_000;
/** Handles and mappings of a machine with four devices, all vectors in use. */
const HELD_MAX = 250;
const GROWTH_MAX = 16 * MIB;

const machineOptions = (irqchip: "full" | "split"): StillMachineOptions => ({
  irqchip,
  ramSize: 64 * MIB,
  ports: [{ id: "rp0" }, { id: "rp1" }],
  devices: [
    { spec: eduSpec("0000:01:00.0"), properties: { bus: "pcie.0" } },
    { spec: msixTestSpec("0000:02:00.0", { dynamic: true }), properties: { bus: "pcie.0" } },
    {
      spec: { ...msixTestSpec("0000:03:00.0"), rom: new Uint8Array(2048).fill(1) },
      properties: { bus: "rp0" },
    },
    { spec: eduSpec("0000:04:00.0"), properties: { bus: "rp1" } },
  ],
});

function heapAfterCollection(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  return process.memoryUsage().heapUsed;
}

/** @returns how many lines were reported */
async function runGuest(irqchip: "full" | "split", seed: number): Promise<number> {
  const machine = new StillMachine(machineOptions(irqchip));
  try {
    const guest = new RandomGuest(machine, seed);
    for (let i = 0; i < ACTS; i++) {
      guest.act();
      if (i % 500 !== 0) continue;
      await turn();
      const held = machine.ledger.live().length;
      assert.ok(held < HELD_MAX, `${held} things held after ${i} acts`);
      machine.ledger.clearCalls();
    }
    const expected = ["power off", "reset"];
    const others = machine.events.filter((event) => !expected.includes(event));
    assert.deepEqual(others, [], "the host refused nothing that ends a machine");
  } finally {
    machine[Symbol.dispose]();
  }
  assert.deepEqual(machine.ledger.live(), []);
  assert.deepEqual(machine.host.describe(), []);
  return machine.reports.length;
}

for (const irqchip of ["full", "split"] as const) {
  test(`a guest at random throws nothing through and grows nothing (${irqchip} irqchip)`, {
    skip,
  }, async () => {
    let before = 0;
    for (let run = 0; run < RUNS; run++) {
      const reports = await runGuest(irqchip, 0x9e37_79b9 * (run + 1));
      assert.ok(reports < 30, `${reports} lines reported`);
      if (run === 1) before = heapAfterCollection();
    }
    const growth = heapAfterCollection() - before;
    assert.ok(growth < GROWTH_MAX, `the heap grew by ${growth} bytes`);
  });
}
