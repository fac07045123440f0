import assert from "node:assert/strict";
import { test } from "node:test";
import { access, code } from "../../test/unit/machine/payload.ts";
import { runProgram, skipWithoutKvm } from "../../test/unit/machine/run-program.ts";
import type { DeviceOption } from "./device-options.ts";
import { ACPI_PM_PORT, ECAM_START, IOAPIC_START, RESET_PORT } from "./memory-map.ts";

const ACCESSES = 3000;
const PCI_WINDOW = 0xc000_0000;
const PCI_WINDOW_SIZE = 0x3000_0000;

/** Ports that would end or restart the guest, or belong to KVM's own timer and PIC. */
const avoided = (port: number, size: number): boolean =>
  [ACPI_PM_PORT + 4, ACPI_PM_PORT + 5, RESET_PORT, 0x64, 0x92].some(
    (end) => port <= end && end < port + size,
  );

/** xorshift32: the same accesses for the same seed. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function randomAccesses(seed: number): number[] {
  const next = random(seed);
  const value = () => [0, 0xffff_ffff, next(0x1_0000), next(2 ** 32)][next(4)]!;
  const width = () => ([1, 2, 4] as const)[next(3)]!;
  const program: number[] = [];
  const config = () => {
    // Few buses, few slots, so that most accesses meet a function; all registers.
    const bdf = (next(4) << 16) | (next(4) << 11) | (next(2) << 8);
    const latch = (0x8000_0000 | bdf | (next(64) << 2)) >>> 0;
    const data = 0xcfc + next(4);
    const size = width();
    program.push(...access.portWrite(0xcf8, 4, latch));
    program.push(
      ...(next(3) ? access.portWrite(data, size, value()) : access.portRead(data, size)),
    );
  };
  const memory = () => {
    const size = ([1, 2, 4, 8] as const)[next(4)]!;
    const ecam = ECAM_START + next(4) * 0x10_0000 + next(4) * 0x8000 + next(4096);
    const window = PCI_WINDOW + next(PCI_WINDOW_SIZE);
    const address = [ecam, ecam, window, IOAPIC_START + next(0x60)][next(4)]!;
    if (next(3)) program.push(...access.memoryWrite(address, size, value()));
    else program.push(...access.memoryRead(address, size));
  };
  const port = () => {
    const size = width();
    const at = next(3) ? next(0x700) : next(0x1_0000 - 4);
    if (avoided(at, size)) return;
    program.push(...(next(2) ? access.portWrite(at, size, value()) : access.portRead(at, size)));
  };
  for (let i = 0; i < ACCESSES; i++) [config, memory, port][next(3)]!();
  return program;
}

const port = (id: string): DeviceOption => ({
  driver: "pcie-root-port",
  properties: new Map([["id", id]]),
});
/** The serial port works again, whatever was written to it. */
const restoreSerial = [
  ...code.outByte(0x3fb, 3),
  ...code.outByte(0x3fc, 0),
  ...code.outByte(0x3f9, 0),
];

for (const irqchip of ["full", "split"] as const) {
  for (const seed of [1, 20_260_924]) {
    const name = `a guest that writes at random cannot throw, hang or grow us (${irqchip}, ${seed})`;
    test(name, { skip: skipWithoutKvm }, async () => {
      const program = [...randomAccesses(seed), ...restoreSerial, ...code.print("done")];
      const { end, output, live, exits } = await runProgram([...program, ...code.powerOff()], {
        irqchip,
        devices: [port("rp0"), port("rp1"), port("rp2")],
      });
      assert.equal(end.reason, "guest-shutdown", end.error?.message);
      assert.match(output, /done$/);
      assert.deepEqual(live, []);
      assert.ok(exits > ACCESSES, `${exits} exits`);
    });
  }
}
