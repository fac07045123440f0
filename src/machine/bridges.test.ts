import assert from "node:assert/strict";
import { test } from "node:test";
import { PCI_CAP_ID_MSI } from "../abi/pci-regs.ts";
import { RecordingPlatform } from "../pci/recording-platform.ts";
import { RootComplex } from "../pci/root-complex.ts";
import { Bridges } from "./bridges.ts";
import type { DeviceOption } from "./device-options.ts";

/** `driver,name=value,...` without QEMU's quoting. */
function option(text: string): DeviceOption {
  const [driver = "", ...pairs] = text.split(",");
  return { driver, properties: new Map(pairs.map((pair) => pair.split("=") as [string, string])) };
}

class Board implements Disposable {
  readonly root = new RootComplex({ platform: new RecordingPlatform() });
  readonly bridges = new Bridges(this.root.bus);

  add(...texts: string[]): this {
    for (const text of texts) this.bridges.add(option(text));
    return this;
  }

  [Symbol.dispose](): void {
    this.bridges[Symbol.dispose]();
    this.root[Symbol.dispose]();
  }
}

test("Bridges puts a conventional bus below a root port", () => {
  using board = new Board().add(
    "pcie-root-port,id=rp0,addr=0x4",
    "pcie-pci-bridge,id=br0,bus=rp0,addr=0",
  );
  const port = board.root.bus.get(4 << 3)!;
  const bus = board.bridges.bus("br0");
  assert.equal(bus.parent, board.bridges.bus("rp0").get(0));
  assert.deepEqual(
    [bus.isExpress, bus.isRoot, board.bridges.bus("rp0").isExpress],
    [false, false, true],
  );
  assert.equal(board.bridges.portAbove(bus), undefined);
  assert.equal(board.bridges.portAbove(board.bridges.bus("rp0")), port);
});

test("Bridges takes QEMU's properties of each bridge", () => {
  using board = new Board().add(
    "pcie-root-port,id=rp0,addr=3.0,multifunction=on,chassis=1,slot=7,port=2,x-speed=8,x-width=4",
    "pcie-root-port,id=rp1,addr=0x3.0x1,chassis=2,hotplug=off",
    "pcie-pci-bridge,id=br0,addr=5",
    "pcie-pci-bridge,id=br1,addr=6,msi=off",
  );
  const { bus } = board.root;
  assert.equal(bus.get(0x18)!.config.bytes[0x0e], 0x81);
  assert.equal(bus.get(0x19)!.config.bytes[0x0e], 0x01);
  const msi = (slot: number) => bus.get(slot << 3)!.config.findCapability(PCI_CAP_ID_MSI);
  assert.notEqual(msi(5), undefined);
  assert.equal(msi(6), undefined);
});

test("Bridges refuses what no machine has", () => {
  using board = new Board().add("pcie-root-port,id=rp0", "pcie-pci-bridge,id=br0");
  const refused: ReadonlyArray<readonly [string, RegExp]> = [
    ["pcie-pci-bridge", /A bridge needs an id/],
    ["pcie-root-port,id=br0", /'pcie-root-port.id' doesn't take value 'br0'/],
    ["pcie-root-port,id=rp1,bus=rp0", /'pcie-root-port.bus' doesn't take value 'rp0'/],
    ["pcie-pci-bridge,id=br1,bus=br0", /'pcie-pci-bridge.bus' doesn't take value 'br0'/],
    ["pcie-pci-bridge,id=br1,bus=rp9", /Bus 'rp9' not found/],
    ["pcie-pci-bridge,id=br1,bus=rp0,addr=1", /a port has slot 0 only/],
    ["pcie-pci-bridge,id=br1,addr=1.9", /'pcie-pci-bridge.addr' doesn't take value '1.9'/],
    ["pcie-pci-bridge,id=br1,chassis=3", /Property 'pcie-pci-bridge.chassis' not found/],
    ["pcie-pci-bridge,id=br1,msi=perhaps", /'pcie-pci-bridge.msi' doesn't take value 'perhaps'/],
  ];
  for (const [text, message] of refused) {
    assert.throws(() => board.add(text), { code: "PROPERTY", message }, text);
  }
});
