/** What a guest with a random number generator does to a `StillMachine`. */

import assert from "node:assert/strict";
import { ECAM_START, IOAPIC_START, MIB } from "../../../src/machine/memory-map.ts";
import type { VfioPciFunction } from "../../../src/vfio/pci/vfio-pci.ts";
import type { StillMachine } from "./still-machine.ts";

/** A small generator (xorshift32): the same accesses for the same seed, on every machine. */
export function random(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const PORT_WIDTHS = [1, 2, 4] as const;
const WIDTHS = [1, 2, 4, 8] as const;
/** Ports with something behind them. */
const PORTS = [0x60, 0x64, 0x70, 0x71, 0x92, 0x3f8, 0x3fd, 0x600, 0x604, 0x608, 0xcf8, 0xcfc];
const VALUES = [0, 1, 2, 4, 6, 7, 0xff, 0x400, 0x8000, 0xc000, 0xffff, 0x1_0000, 0xfee0_0000];
/** Places at whose edges things meet: RAM's end, PCI's windows, ECAM, the interrupt controllers. */
const PLACES = [
  0n,
  BigInt(64 * MIB),
  0xa000_0000n,
  BigInt(ECAM_START),
  0xc000_0000n,
  BigInt(IOAPIC_START),
  0xfee0_0000n,
  0xfeff_c000n,
  0x1_0000_0000n,
  0x8_0000_0000n,
  0xffff_ffff_ffff_f000n,
];

export class RandomGuest {
  readonly #machine: StillMachine;
  readonly below: (below: number) => number;

  constructor(machine: StillMachine, seed: number) {
    this.#machine = machine;
    this.below = random(seed);
  }

  /** One access, or one thing that happens to the devices. */
  act(): void {
    this.#pick(this.#actions)();
  }

  readonly #actions: ReadonlyArray<() => void> = [
    () => this.#readEcam(),
    () => this.#readEcam(),
    () => this.#writeEcam(),
    () => this.#writeEcam(),
    () => this.#configPorts(),
    () => this.#configPorts(),
    () => this.#placeBars(),
    () => this.#bar(),
    () => this.#bar(),
    () => this.#messages(),
    () => this.#port(),
    () => this.#port(),
    () => this.#anywhere(),
    () => this.#interruptController(),
    () => this.#device(),
    () => this.#numberBuses(),
    () => {
      if (this.below(50) === 0) this.#machine.reset();
    },
  ];

  #pick<T>(list: readonly T[]): T {
    const item = list[this.below(list.length)];
    assert(item !== undefined);
    return item;
  }

  #value(): number {
    return this.below(2) === 0 ? this.#pick(VALUES) : this.below(2 ** 32);
  }

  #value64(): bigint {
    return (BigInt(this.#value()) << 32n) | BigInt(this.#value());
  }

  /** Mostly a function that is there. */
  #bdf(): number {
    const present = [...this.#machine.board.root.present.keys()];
    return this.below(6) === 0 ? this.below(0x1_0000) : this.#pick(present);
  }

  /** Mostly where a register is. */
  #register(): number {
    return this.below(3) === 0 ? this.below(0x1000) : this.below(0x100);
  }

  #ecam(): bigint {
    return BigInt(ECAM_START) + (BigInt(this.#bdf()) << 12n) + BigInt(this.#register());
  }

  /** A read must give shadow and device mixed by bit, whichever thread answers it. */
  #readEcam(): void {
    const { exits, inThread } = this.#machine;
    const address = this.#ecam();
    const size = this.#pick(WIDTHS);
    const value = exits.mmioRead(address, size);
    if (size === 8) return;
    const fast = inThread.mmioRead(Number(address), size);
    if (fast !== undefined) assert.equal(BigInt(fast), value, `ECAM 0x${address.toString(16)}`);
    this.#checkMerge(Number(address) - ECAM_START, size, Number(value));
  }

  #checkMerge(offset: number, size: number, value: number): void {
    const { board, host } = this.#machine;
    const fn = board.root.find(offset >>> 12) as VfioPciFunction | undefined;
    const physical = host.devices.find(({ name }) => name === fn?.name)?.config;
    const register = offset & 0xfff;
    if (fn === undefined || physical === undefined || register + size > fn.config.size) return;
    const { bytes, emuMask } = fn.config;
    for (let i = 0; i < size; i++) {
      const at = register + i;
      const expected: number = (bytes[at]! & emuMask[at]!) | (physical[at]! & ~emuMask[at]! & 0xff);
      assert.equal((value >>> (8 * i)) & 0xff, expected, `${fn.name} config byte ${at}`);
    }
  }

  #writeEcam(): void {
    this.#machine.exits.mmioWrite(this.#ecam(), this.#pick(WIDTHS), this.#value64());
  }

  /** CF8 and CFC, at any width and alignment. */
  #configPorts(): void {
    const machine = this.#machine;
    const enable = this.below(8) === 0 ? 0 : 0x8000_0000;
    const latch = (enable | (this.#bdf() << 8) | (this.#register() & 0xff)) >>> 0;
    machine.pioWrite(0xcf8, 4, latch);
    const port = 0xcf8 + (this.below(4) === 0 ? this.below(8) : 4 + this.below(4));
    const size = this.#pick(PORT_WIDTHS);
    if (this.below(2) === 0) machine.pioWrite(port, size, this.#value());
    const value = machine.pioRead(port, size);
    if (port < 0xcfc || port + size > 0xd00) return;
    assert.equal(value, machine.exits.pioRead(port, size), `port 0x${port.toString(16)}`);
  }

  /** As a driver does: decoding off, addresses, decoding on. */
  #placeBars(): void {
    const { exits } = this.#machine;
    const base = BigInt(ECAM_START) + (BigInt(this.#bdf()) << 12n);
    exits.mmioWrite(base + 4n, 2, 0n);
    const bar = BigInt(this.below(6));
    const address = this.below(4) === 0 ? this.#value() : 0xc000_0000 + this.below(256) * 0x1000;
    exits.mmioWrite(base + 0x10n + 4n * bar, 4, BigInt(address));
    if (this.below(3) === 0) exits.mmioWrite(base + 0x14n + 4n * bar, 4, BigInt(this.below(8)));
    exits.mmioWrite(base + 4n, 2, BigInt(this.below(4) === 0 ? this.#value() & 0xffff : 7));
  }

  /** Inside a BAR, where the tables of MSI-X are too. */
  #bar(): void {
    const { exits, functions } = this.#machine;
    const fn = this.#pick(functions);
    const index = this.below(7);
    const start = fn.barAddress(index) ?? 0xc000_0000n;
    const at = start + BigInt(this.below(0x4000)) - BigInt(this.below(8));
    if (this.below(2) === 0) exits.mmioRead(at, this.#pick(WIDTHS));
    else exits.mmioWrite(at, this.#pick(WIDTHS), this.#value64());
  }

  /** Turns MSI or MSI-X on or off, and writes vectors. */
  #messages(): void {
    const { exits, functions } = this.#machine;
    const fn = this.#pick(functions);
    const capability = this.below(2) === 0 ? fn.msi?.offset : fn.msix?.offset;
    if (capability === undefined) return;
    const base = BigInt(ECAM_START + (fn.requesterId << 12) + capability);
    exits.mmioWrite(base + 2n, 2, BigInt(this.#pick([0, 1, 0x31, 0x8000, 0xc000])));
    const table = fn.barAddress(4);
    if (table === undefined) return;
    const entry = table + 0x1000n + BigInt(16 * this.below(10));
    exits.mmioWrite(entry, 4, 0xfee0_0000n);
    exits.mmioWrite(entry + 8n, 4, BigInt(this.below(256)));
    exits.mmioWrite(entry + 12n, 4, BigInt(this.below(2)));
  }

  /** Any port: the chipset's, or none. What ends a machine is only noted here. */
  #port(): void {
    const machine = this.#machine;
    const port = this.below(3) === 0 ? this.below(0x1_0000) : this.#pick(PORTS) + this.below(4);
    const size = this.#pick(PORT_WIDTHS);
    if (this.below(2) === 0) machine.pioWrite(port, size, this.#value());
    else machine.pioRead(port, size);
  }

  #anywhere(): void {
    const { exits } = this.#machine;
    const near = this.#pick(PLACES) + BigInt(this.below(64)) - BigInt(this.below(64));
    const at = BigInt.asUintN(64, this.below(4) === 0 ? this.#value64() : near);
    // The guest's own RAM is a memory slot: an access to it comes here only where it leaves it.
    if (this.below(2) === 0) exits.mmioRead(at, this.#pick(WIDTHS));
    else exits.mmioWrite(at, this.#pick(WIDTHS), this.#value64());
  }

  #interruptController(): void {
    const { exits } = this.#machine;
    const base = BigInt(IOAPIC_START);
    exits.mmioWrite(base, 4, BigInt(this.below(0x48)));
    exits.mmioWrite(base + 0x10n, 4, BigInt(this.#value()));
    exits.mmioRead(base + 0x10n, 4);
    exits.ioapicEoi(this.below(256));
  }

  /** The hardware's part: interrupts at any time. */
  #device(): void {
    const { irqs } = this.#pick(this.#machine.host.devices);
    if (this.below(2) === 0) irqs.fire(this.below(64));
    else irqs.setIntx(this.below(2) === 0);
  }

  /** Gives the bridges bus numbers, so that what is behind them can be reached. */
  #numberBuses(): void {
    const { exits, board } = this.#machine;
    let bus = 1;
    for (const { devfn, secondaryBus } of board.root.bus.functions) {
      if (secondaryBus === undefined) continue;
      const base = BigInt(ECAM_START + (devfn << 12));
      const numbers = this.below(5) === 0 ? this.#value() : (bus << 8) | (bus << 16);
      exits.mmioWrite(base + 0x18n, 4, BigInt(numbers));
      exits.mmioWrite(base + 0x20n, 4, 0xfff0_0000n);
      exits.mmioWrite(base + 4n, 2, 7n);
      bus++;
    }
  }
}
