import assert from "node:assert/strict";
import { test } from "node:test";
import { RecordingPlatform } from "../pci/recording-platform.ts";
import { RootComplex } from "../pci/root-complex.ts";
import { IgdLpcBridge } from "../vfio/pci/quirks/igd-bridges.ts";
import { Devices } from "./devices.ts";
import { IGD_LPC_BRIDGE, makeIgdLpcBridge } from "./igd-lpc-bridge.ts";

function board() {
  const root = new RootComplex({ platform: new RecordingPlatform() });
  return { root, devices: new Devices(root) };
}

const bridge = (properties: Record<string, string>) => ({
  driver: IGD_LPC_BRIDGE,
  properties: new Map(Object.entries({ bus: "pcie.0", ...properties })),
});

test("spec I10: -device vfio-pci-igd-lpc-bridge puts the dummy bridge at 1f.0 alone", () => {
  const { root, devices } = board();
  using _devices = devices;
  devices.addFunctions([bridge({ addr: "1f.0", multifunction: "on" })], makeIgdLpcBridge);
  const fn = root.bus.get(0xf8);
  assert.ok(fn instanceof IgdLpcBridge);
  assert.equal(fn.readConfig(0x0a, 2), 0x0601);
  assert.equal(fn.readConfig(0x0e, 1), 0x80);
  const elsewhere = () => devices.addFunctions([bridge({ addr: "1e" })], makeIgdLpcBridge);
  assert.throws(elsewhere, /must have address 1f.0/);
});

test("makeIgdLpcBridge refuses hot-plug and properties it does not have", () => {
  const { root, devices } = board();
  using _devices = devices;
  const plug = () => devices.hotAdd(bridge({ addr: "1f" }), root.bus, makeIgdLpcBridge);
  assert.throws(plug, /'vfio-pci-igd-lpc-bridge' does not support hotplugging/);
  const odd = () => devices.addFunctions([bridge({ addr: "1f", host: "x" })], makeIgdLpcBridge);
  assert.throws(odd, /'vfio-pci-igd-lpc-bridge.host' not found/);
  assert.equal(root.bus.get(0xf8), undefined);
});
