/**
 * Reset of AMD Bonaire and Hawaii (spec/pci-quirks.md section 7), which do not answer to a bus
 * reset: their system management controller (SMC) is told to do it. Registers are in BAR 5, 4 bytes
 * wide; most behind an index and a data register.
 */

import { PCI_COMMAND, PCI_COMMAND_MEMORY } from "../../../abi/pci-regs.ts";
import type { VfioRegion } from "../../region.ts";
import type { VfioPciFunction } from "../vfio-pci.ts";
import * as trace from "./trace.ts";

const REGISTER_BAR = 5;
const INDEX = 0x200;
const DATA = 0x204;
const MEMORY_SIZE = 0x5428;

// Behind the index register.
const SMC_RESET = 0x8000_0000;
const SMC_CLOCK = 0x8000_0004;
const SMC_PROGRAM_COUNTER = 0x8000_0370;
const FUSES = 0xc00c_0000;
const RESET_MODE = 0xc000_0010;

const SMC_BIT = 0x1;
/** Below it the SMC runs its boot code. */
const PROGRAM_COUNTER_MIN = 0x2_0100;
const FUSE_RESET_MODE_SHIFT = 6;
const RESET_MODE_SHIFT = 1;

/** The register of config space that starts a reset, and what it takes. */
const TRIGGER = 0x7c;
const TRIGGER_VALUE = 0x39d5_e86b;
const SETTLE_MS = 0.1;
const POLLS_MAX = 100_000;
const ABSENT = 0xffff_ffff;

/** @returns false when the device cannot be reset in this way */
export function resetBonaire(fn: VfioPciFunction): boolean {
  if (fn.facts.resetWorks) {
    // The kernel knows a way of its own.
    trace.vfio_quirk_ati_bonaire_reset_skipped.emit({ name: fn.name });
    return false;
  }
  const region = fn.assignedBars.get(REGISTER_BAR)?.region;
  if (!region) return false;
  fn.writeConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  const done = runReset(fn, region);
  fn.writeConfig(PCI_COMMAND, 2, 0);
  return done;
}

function runReset(fn: VfioPciFunction, region: VfioRegion): boolean {
  const registers = new IndirectRegisters(region);
  const clockRuns = (registers.read(SMC_CLOCK) & SMC_BIT) === 0;
  if (!clockRuns || registers.read(SMC_PROGRAM_COUNTER) < PROGRAM_COUNTER_MIN) {
    trace.vfio_quirk_ati_bonaire_reset_no_smc.emit({ name: fn.name });
    return false;
  }
  resetGraphicsOnly(registers);
  fn.writeConfig(TRIGGER, 4, TRIGGER_VALUE);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, SETTLE_MS);
  awaitMemory(fn, region);
  registers.set(SMC_RESET, SMC_BIT);
  registers.set(SMC_CLOCK, SMC_BIT);
  trace.vfio_quirk_ati_bonaire_reset.emit({ name: fn.name });
  return true;
}

/** Keeps the PCI part of the card out of it. */
function resetGraphicsOnly(registers: IndirectRegisters): void {
  const fuse = (registers.read(FUSES) >>> FUSE_RESET_MODE_SHIFT) & 1;
  const mode = registers.read(RESET_MODE);
  if (fuse === ((mode >>> RESET_MODE_SHIFT) & 1)) {
    registers.writeSelected((mode ^ (1 << RESET_MODE_SHIFT)) >>> 0);
  }
}

/** Each read takes a microsecond or more, so that no pause is needed between them. */
function awaitMemory(fn: VfioPciFunction, region: VfioRegion): void {
  for (let polls = 0; polls < POLLS_MAX; polls++) {
    if (region.read(MEMORY_SIZE, 4) === ABSENT) continue;
    trace.vfio_quirk_ati_bonaire_reset_done.emit({ name: fn.name });
    return;
  }
  trace.vfio_quirk_ati_bonaire_reset_timeout.emit({ name: fn.name });
}

class IndirectRegisters {
  readonly #region: VfioRegion;

  constructor(region: VfioRegion) {
    this.#region = region;
  }

  read(index: number): number {
    this.#region.write(INDEX, 4, index);
    return this.#region.read(DATA, 4);
  }

  /** Writes the register that was read last, and reads it back so that the write has arrived. */
  writeSelected(value: number): void {
    this.#region.write(DATA, 4, value);
    this.#region.read(DATA, 4);
  }

  /** Sets bits of a register. */
  set(index: number, bits: number): void {
    const value = this.read(index);
    this.#region.write(DATA, 4, (value | bits) >>> 0);
  }
}
