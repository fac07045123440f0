import assert from "node:assert/strict";
import { test } from "node:test";
import { HotPlug } from "../../../src/machine/hot-plug.ts";
import { MIB } from "../../../src/machine/memory-map.ts";
import { msixTestSpec } from "../../../src/sim/devices/msix.ts";
import { PciehpGuest } from "../hot-plug/pciehp-guest.ts";
import { skip } from "../run/software-run.ts";
import { StillMachine } from "./still-machine.ts";

const CYCLES = 200;
const DEVICE = "0000:01:00.0";
const VECTORS = 8;
/** GSIs below are the I/O APIC's pins. */
const FIRST_MSI_GSI = 24;

test(`HotPlug on KVM: ${CYCLES} cycles leave no memory slot, route, descriptor or map`, {
  skip,
}, () => {
  for (const irqchip of ["full", "split"] as const) {
    using machine = new StillMachine({
      irqchip,
      ramSize: 64 * MIB,
      ports: [{ id: "rp0", addr: "1" }],
      devices: [],
    });
    machine.host.addDevice(msixTestSpec(DEVICE, { vectors: VECTORS }), 7);
    const { board, devices, ledger, slots, vfio } = machine;
    const deleted: string[] = [];
    const hotPlug = new HotPlug(devices, {
      deleted: ({ path }) => void deleted.push(path),
      refused: () => assert.fail("the guest complies"),
      note: (text) => assert.fail(text),
    });
    const guest = new PciehpGuest(board.root, board.memory, 1);
    guest.boot();
    const held = () => [...ledger.live(), ...machine.host.describe(), `slots ${slots.count}`];
    const properties = new Map([
      ["host", DEVICE],
      ["id", "dev"],
    ]);
    const cycle = () => {
      hotPlug.add({ driver: "vfio-pci", properties }, vfio.make);
      guest.serve();
      assert.equal(guest.id(), 0x10f0_1b36);
      const used = slots.count;
      hotPlug.requestRemoval("dev");
      guest.serve();
      return used;
    };
    // The first device brings KVM's pseudo-device, which stays for the VM's life.
    const before = slots.count;
    assert.ok(cycle() > before, "the device's BARs are memory slots");
    const after = held();
    for (let i = 1; i < CYCLES; i++) cycle();
    assert.deepEqual(held(), after);
    assert.equal(deleted.length, CYCLES);
    const next = board.platform.msiRoutes.add({ address: 0xfee0_0000n, data: 0 }, 0)!;
    assert.ok(next < FIRST_MSI_GSI + VECTORS, `GSI ${next}: not every route was released`);
    assert.deepEqual([machine.events, machine.refusals], [[], []]);
  }
});
