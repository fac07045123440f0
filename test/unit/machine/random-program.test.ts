import assert from "node:assert/strict";
import { test } from "node:test";
import { HostTree } from "../../../src/host/tree.ts";
import { Machine } from "../../../src/machine/machine.ts";
import { MIB } from "../../../src/machine/memory-map.ts";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import { msixTestSpec } from "../../../src/sim/devices/msix.ts";
import { SoftwareHost } from "../../../src/sim/host.ts";
import { Ledger } from "../../../src/sim/ledger.ts";
import { nativeSyscalls } from "../../../src/sys/native.ts";
import { GuestFiles, skip } from "../run/software-run.ts";
import { randomProgram } from "./random-program.ts";

const RUN_MS = 3000;
const HELD_MAX = 250;

/** On the root bus, where the program finds it without numbering buses. */
const onRootBus = (host: string, addr: string) => ({
  driver: "vfio-pci",
  properties: new Map(Object.entries({ host, bus: "pcie.0", addr })),
});

for (const irqchip of ["full", "split"] as const) {
  test(`a program at random throws nothing through and ends when told (${irqchip} irqchip)`, {
    skip,
  }, async () => {
    using files = new GuestFiles();
    using host = new SoftwareHost(nativeSyscalls());
    host.addDevice(eduSpec("0000:01:00.0"), 7);
    host.addDevice(msixTestSpec("0000:02:00.0"), 8);
    const ledger = new Ledger(host);
    const notes: string[] = [];
    const machine = await Machine.create(ledger, {
      kernel: files.image("random", randomProgram(0x2545_f491)),
      initrd: undefined,
      commandLine: "",
      ramSize: 64 * MIB,
      cpus: 1,
      irqchip,
      devices: [onRootBus("0000:01:00.0", "5"), onRootBus("0000:02:00.0", "6")],
      serial: undefined,
      noReboot: false,
      tree: HostTree.mounted(host.roots),
      onNote: (note) => void notes.push(note),
    });
    await machine.start();
    const timer = setTimeout(() => machine.quit("host-signal"), RUN_MS);
    const end = await machine.ended;
    clearTimeout(timer);
    const { total } = machine.exitCounters;
    const held = ledger.live().length;
    await machine.close();
    assert.deepEqual(end, { reason: "host-quit" });
    assert.ok(total > 1000, `only ${total} exits`);
    assert.ok(held < HELD_MAX, `${held} things held`);
    assert.ok(notes.length < 40, notes.join("\n"));
    assert.deepEqual([ledger.live(), host.describe()], [[], []]);
  });
}
