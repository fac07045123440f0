/** A guest that writes and reads at random where quirks have their traps: nothing may throw. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { devfnOf } from "../../../src/pci/bus.ts";
import { igdSpec } from "../../../src/sim/devices/igd.ts";
import { radeonSpec } from "../../../src/sim/devices/radeon.ts";
import { rtl8168Spec } from "../../../src/sim/devices/rtl8168.ts";
import type { PciDeviceSpec } from "../../../src/sim/pci-spec.ts";
import { BDF, TestMachine } from "./machine.ts";

const ACCESSES = 20_000;
const WINDOW = 0xe000_0000;
const PORTS = 0xe000;
const WIDTHS = [1, 2, 4, 8] as const;
/** Addresses and commands that the traps know. */
const WORDS = [0, 1, 0x338, 0x538, 0x738, 0x1804, 0x183c, 0x4010, 0x8_8024, 0x1_f000, 0x8001_ffff];
const OFFSETS = [
  0, 4, 8, 0xc, 0x70, 0x74, 0x1800, 0x4000, 0x8_8000, 0x8_8704, 0x10_8040, 0x10_80c0,
];
const VGA_PORTS = [0x3c3, 0x3d0, 0x3d4];

const geforce: PciDeviceSpec = {
  address: BDF,
  vendorId: 0x10de,
  deviceId: 0x13c2,
  classCode: 0x030000,
  vga: true,
  msi: { vectors: 1 },
  bars: {
    0: { size: 0x20_0000, kind: "mem32" },
    1: { size: 0x1_0000, kind: "mem64", prefetchable: true },
    5: { size: 0x80, kind: "io" },
  },
};

interface Device {
  readonly spec: PciDeviceSpec;
  readonly given?: Readonly<Record<string, string>>;
  readonly devfn?: number;
}

const VGA = { "x-vga": "on" };
const DEVICES: Readonly<Record<string, Device>> = {
  GeForce: { spec: geforce, given: VGA },
  Radeon: { spec: { ...radeonSpec(BDF), vga: true }, given: VGA },
  RTL8168: { spec: rtl8168Spec(BDF) },
  IGD: { spec: igdSpec(BDF), given: VGA },
  "IGD of 9.0": {
    spec: igdSpec(BDF, { rom: new Uint8Array(2048) }),
    given: { "x-igd-compat": "9.0" },
    devfn: devfnOf(2),
  },
};
/** The base of stolen memory, which firmware writes. */
const STOLEN_BASE = 0x5c;

/** Xorshift: the same run every time. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

for (const [name, { spec, given, devfn }] of Object.entries(DEVICES)) {
  test(`quirks of a ${name}: ${ACCESSES} random accesses throw nothing and leave nothing`, () => {
    using machine = new TestMachine({ devices: [{ spec, group: 7 }] });
    using fn = machine.assign(given, devfn === undefined ? {} : { devfn });
    if (fn.ids.vendor === 0x8086) fn.writeConfig(STOLEN_BASE, 4, 0x6000_0000);
    const below = random(0x5eed);
    const place = () => {
      for (const index of [0, 1, 2, 4, 5]) {
        const isPort = fn.assignedBars.type(index)?.kind === "io";
        const address = isPort ? PORTS + 0x400 * index : WINDOW + index * 0x100_0000;
        if (fn.assignedBars.get(index)) fn.writeConfig(0x10 + 4 * index, 4, address);
        if (fn.assignedBars.type(index)?.kind === "mem64") {
          fn.writeConfig(0x14 + 4 * index, 4, 0);
        }
      }
      fn.writeConfig(0x04, 2, 3);
    };
    for (let i = 0; i < ACCESSES; i++) {
      if (i % 500 === 0) place();
      if (i % 5000 === 4999) fn.reset();
      if (i % 1000 === 0) machine.log.length = 0;
      const offset = OFFSETS[below(OFFSETS.length)]! + below(8) * below(2);
      const index = below(6);
      const [space, address] = [
        [machine.memory, WINDOW + index * 0x100_0000 + offset] as const,
        [machine.io, PORTS + 0x400 * index + (offset & 0x7f)] as const,
        [machine.io, VGA_PORTS[below(VGA_PORTS.length)]! + below(2)] as const,
      ][below(3)]!;
      const width = WIDTHS[below(4)]!;
      if (below(2) === 0) {
        const value = space.read(BigInt(address), width);
        assert.equal(value, BigInt.asUintN(8 * width, value));
      } else {
        const word = WORDS[below(WORDS.length)]!;
        space.write(BigInt(address), width, BigInt.asUintN(8 * width, BigInt(word)));
      }
    }
    fn[Symbol.dispose]();
    assert.deepEqual(machine.ioeventfds, []);
    assert.deepEqual(machine.host.describe(), []);
  });
}
