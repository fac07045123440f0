/**
 * A guest that writes and reads at random, on devices made at random: nothing may throw, hang, leak
 * or break the rule that a read mixes shadow and device by bit.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { BarSpec, PciDeviceSpec } from "../../../src/sim/pci-spec.ts";
import { ViaductError } from "../../../src/sys/sys-error.ts";
import type { VfioPciFunction } from "../../../src/vfio/pci/vfio-pci.ts";
import { BDF, TestMachine } from "./machine.ts";

const RUNS = 250;
const ACCESSES_PER_RUN = 4000;
const BAR_WINDOW = 0xe000_0000;
const INTERESTING = [0, 1, 2, 4, 6, 7, 0x400, 0x8000, 0xc000, 0xffff, 0xffff_ffff, 0xfd00_1000];

const bar: fc.Arbitrary<BarSpec> = fc.record({
  size: fc.integer({ min: 6, max: 15 }).map((log) => 2 ** log),
  kind: fc.constantFrom("mem32" as const, "io" as const),
  mmap: fc.boolean(),
});

/** A device of six BARs at most, MSI and MSI-X of many shapes, and noise in its config space. */
const deviceSpec = fc.record({
  bars: fc.dictionary(fc.constantFrom("0", "1", "2", "3", "4"), bar),
  configSize: fc.constantFrom(256 as const, 4096 as const),
  interruptPin: fc.constantFrom(0 as const, 1 as const, 2 as const, 3 as const, 4 as const),
  msi: fc.constantFrom(undefined, ...([1, 2, 8, 32] as const)),
  masking: fc.boolean(),
  msix: fc.constantFrom(undefined, 1, 5, 64),
  dynamic: fc.boolean(),
  available: fc.constantFrom(undefined, 1, 3),
  reset: fc.constantFrom("flr" as const, "pm" as const, "bus" as const, "none" as const),
  noise: fc.array(fc.tuple(fc.nat(4095), fc.nat(255)), { maxLength: 6 }),
  seed: fc.nat(),
  routes: fc.boolean(),
  hasResampleFd: fc.boolean(),
});

type Definition = typeof deviceSpec extends fc.Arbitrary<infer T> ? T : never;

function specOf(given: Definition): PciDeviceSpec {
  const { msi, msix, available } = given;
  return {
    address: BDF,
    vendorId: 0x1234,
    deviceId: 0x5678,
    configSize: given.configSize,
    bars: {
      ...Object.fromEntries(
        Object.entries(given.bars).map(([index, { size, kind, mmap }]) => {
          const canMap = kind !== "io" && mmap === true && size >= 4096;
          return [index, { size, kind, mmap: canMap }];
        }),
      ),
      5: { size: 0x2000, kind: "mem32" },
    },
    interruptPin: given.interruptPin,
    reset: given.reset,
    ...(msi !== undefined && {
      msi: { vectors: msi, masking: given.masking, ...(available && { available }) },
    }),
    ...(msix !== undefined && {
      msix: {
        vectors: msix,
        table: { bar: 5, offset: 0 },
        pba: { bar: 5, offset: 0x1000 },
        dynamic: given.dynamic,
        ...(available && { available }),
      },
    }),
  };
}

/** A small generator: fast-check would remember every access. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Reads config space and compares with the rule. */
function readConfig({ machine, fn }: Guest, offset: number, length: number): void {
  const physical = machine.device().config;
  const { bytes, emuMask } = fn.config;
  const value = fn.readConfig(offset, length);
  for (let i = 0; i < length && offset + i < fn.config.size; i++) {
    const at = offset + i;
    const expected = (bytes[at]! & emuMask[at]!) | (physical[at]! & ~emuMask[at]! & 0xff);
    assert.equal((value >>> (8 * i)) & 0xff, expected, `config byte ${at}`);
  }
}

interface Guest {
  readonly machine: TestMachine;
  readonly fn: VfioPciFunction;
  /** A random number from 0 to `n` - 1. */
  below(n: number): number;
}

const WIDTHS = [1, 2, 4, 8] as const;

function anyValue({ below }: Guest): number {
  return below(2) === 0 ? INTERESTING[below(INTERESTING.length)]! : below(2 ** 32);
}

/** Mostly where something is. */
function anyOffset({ fn, below }: Guest): number {
  return below(3) === 0 ? below(fn.config.size + 4) : below(0x80);
}

const read = (guest: Guest) => readConfig(guest, anyOffset(guest), WIDTHS[guest.below(3)]!);
const write = (guest: Guest) =>
  guest.fn.writeConfig(anyOffset(guest), WIDTHS[guest.below(3)]!, anyValue(guest));

const ACTIONS: ReadonlyArray<(guest: Guest) => void> = [
  read,
  read,
  read,
  write,
  write,
  // A driver at work: decoding on, and a BAR somewhere.
  ({ fn, below }) => {
    fn.writeConfig(0x10 + 4 * below(6), 4, BAR_WINDOW + below(16) * 0x1000);
    fn.writeConfig(0x04, 2, 7);
  },
  ({ machine, below }) => {
    machine.memory.read(BigInt(BAR_WINDOW + below(0x1_2000)), WIDTHS[below(4)]!);
  },
  (guest) => {
    const { machine, fn, below } = guest;
    const at = fn.barAddress(5) ?? BigInt(BAR_WINDOW + below(0x1_2000));
    machine.memory.write(at + BigInt(below(0x1200)), WIDTHS[below(4)]!, BigInt(anyValue(guest)));
  },
  ({ machine, below }) => {
    machine.device().irqs.fire(below(64));
    machine.device().irqs.setIntx(below(2) === 0);
    machine.loop.dispatch();
  },
  ({ fn, below }) => {
    const capability = below(2) === 0 ? fn.msi?.offset : fn.msix?.offset;
    const control = [0, 1, 0x31, 0x8000, 0xc000][below(5)]!;
    if (capability !== undefined) fn.writeConfig(capability + 2, 2, control);
  },
  ({ fn, machine, below }) => {
    if (below(20) === 0) fn.reset();
    machine.clock.pass(below(2000));
  },
  (guest) => {
    const { machine, below } = guest;
    machine.io.write(BigInt(below(0x1_0000)), WIDTHS[below(3)]!, BigInt(anyValue(guest)));
  },
];

test("VfioPciFunction: a million random accesses on random devices", () => {
  fc.assert(
    fc.property(deviceSpec, (given) => {
      const { routes, hasResampleFd } = given;
      using machine = new TestMachine({
        devices: [{ spec: specOf(given), group: 7 }],
        routes,
        hasResampleFd: routes && hasResampleFd,
      });
      const before = machine.ledger.live();
      for (const [at, byte] of given.noise) {
        if (at < given.configSize && at >= 0x40)
          machine.device().setConfig(at, Uint8Array.of(byte));
      }
      let fn: VfioPciFunction | undefined;
      try {
        fn = machine.assign();
      } catch (error) {
        assert(error instanceof ViaductError, String(error));
      }
      const below = random(given.seed);
      for (let i = 0; fn && i < ACCESSES_PER_RUN; i++) {
        ACTIONS[below(ACTIONS.length)]!({ machine, fn, below });
        machine.log.length = 0;
      }
      fn?.[Symbol.dispose]();
      assert.deepEqual(machine.ledger.live(), before);
      assert.deepEqual(machine.host.describe(), []);
      assert(machine.reports.length < 40, `${machine.reports.length} reports`);
      const routesLeft = machine.platform.msiRoutes;
      assert.deepEqual([routesLeft?.routes.size ?? 0, routesLeft?.irqfds.size ?? 0], [0, 0]);
    }),
    { numRuns: RUNS, includeErrorInReport: true },
  );
});
