/**
 * A tiny machine for the tests of this folder: real KVM, a megabyte of RAM, and a payload of a few
 * 32-bit instructions written as bytes (integer-only, so that KVM's instruction emulator runs it
 * where a host has nothing better). Ports and MMIO pages that the payload uses:
 *
 *     port 0x10   answered in the vCPU's thread: a write counts into word 0, a read gives word 1
 *     port 0x20   answered by the test's handler
 *     0xd0000000  MMIO page answered in the thread: word 2 + offset / 4
 *     0xe0000000  MMIO page answered by the test's handler
 *     port 0xf4   the payload is done
 */

import { type AddressSpace, createAddressSpace } from "../memory/address-space.ts";
import { GuestRam } from "../memory/guest-ram.ts";
import { MemoryRegion } from "../memory/region.ts";
import { Ledger } from "../sim/ledger.ts";
import { nativeSyscalls } from "../sys/native.ts";
import { Owner } from "../sys/owner.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import type { ExitHandler, VcpuFailure } from "./exit-handler.ts";
import type { IrqchipMode } from "./irqchip.ts";
import { Kvm } from "./kvm.ts";
import { MemorySlots } from "./memory-slots.ts";
import type { Vcpu } from "./vcpu.ts";
import { VcpuThreads } from "./vcpu-threads.ts";
import type { Vm } from "./vm.ts";

export const THREAD_PORT = 0x10;
export const MAIN_PORT = 0x20;
export const DONE_PORT = 0xf4;
export const THREAD_MMIO = 0xd000_0000;
export const MAIN_MMIO = 0xe000_0000;

export const CODE = 0x1000;
const GDT = 0x500;
export const IDT = 0x600;
export const RAM_SIZE = 0x10_0000;

/** Why tests of this folder cannot run here; false when they can. */
export const skipWithoutKvm = ((): string | false => {
  try {
    Kvm.open(nativeSyscalls())[Symbol.dispose]();
    return false;
  } catch (error) {
    return `no KVM: ${(error as Error).message}`;
  }
})();

const le16 = (value: number) => [value & 0xff, (value >>> 8) & 0xff];
const le32 = (value: number) => [...le16(value & 0xffff), ...le16(value >>> 16)];

/** Instructions of 32-bit code, by their Intel mnemonics. */
export const asm = {
  movEax: (value: number) => [0xb8, ...le32(value)],
  movEcx: (value: number) => [0xb9, ...le32(value)],
  movEsi: (value: number) => [0xbe, ...le32(value)],
  movEdi: (value: number) => [0xbf, ...le32(value)],
  movEsp: (value: number) => [0xbc, ...le32(value)],
  movDx: (port: number) => [0x66, 0xba, ...le16(port)],
  outAl: [0xee],
  outEax: [0xef],
  inEax: [0xed],
  inAl: [0xec],
  repOutsb: [0xf3, 0x6e],
  repInsb: [0xf3, 0x6c],
  storeEax: (address: number) => [0xa3, ...le32(address)],
  loadEax: (address: number) => [0xa1, ...le32(address)],
  storeAl: (address: number) => [0xa2, ...le32(address)],
  incDword: (address: number) => [0xff, 0x05, ...le32(address)],
  hlt: [0xf4],
  sti: [0xfb],
  /** What IRET does within one privilege level, which KVM's emulator has not: uses edx. */
  interruptReturn: [0x5a, 0x83, 0xc4, 0x04, 0x9d, 0xff, 0xe2],
  ud2: [0x0f, 0x0b],
  /** Jumps to itself. */
  spin: [0xeb, 0xfe],
  /** `body`, `count` times; uses ecx. */
  loop: (count: number, body: readonly number[]) => [
    ...asm.movEcx(count),
    ...body,
    0x49, // dec ecx
    ...[0x0f, 0x85, ...le32(-(body.length + 7) >>> 0)], // jnz body
  ],
  /** One write to port 0xf4, and then nothing more to count. */
  done: [0x66, 0xba, 0xf4, 0x00, 0xee, 0xeb, 0xfe],
} as const;

export interface TinyMachineOptions {
  readonly irqchip?: IrqchipMode;
  readonly vcpus?: number;
  /** Instead of a ledger, whose books cost time. */
  readonly sys?: Syscalls;
  /** Another Worker and another main thread than the tests'. */
  readonly entry?: URL;
  readonly shared?: unknown;
  readonly handler?: ExitHandler;
}

const open = new Set<TinyMachine>();

/** After each test: a machine that a failing test left would keep the process alive. */
export function disposeTinyMachines(): void {
  for (const machine of open) machine[Symbol.dispose]();
}

export class TinyMachine implements Disposable {
  readonly ledger = new Ledger(nativeSyscalls());
  readonly kvm: Kvm;
  readonly vm: Vm;
  readonly ram: GuestRam;
  readonly root = new MemoryRegion("memory", "container", 1n << 64n);
  readonly memory: AddressSpace;
  readonly vcpus: readonly Vcpu[];
  readonly threads: VcpuThreads;
  /** Shared with the threads; see the map above. */
  readonly words = new Int32Array(new SharedArrayBuffer(4096));
  /** What reached the main thread, as text. */
  readonly log: string[] = [];
  /** Rejects when a Worker fails by itself. */
  readonly crashed: Promise<never>;
  #crash: (error: unknown) => void = () => {};
  readonly #owner = new Owner();
  #done: (() => void) | undefined;

  constructor(options: TinyMachineOptions = {}) {
    const own = <T extends Disposable>(resource: T) => this.#owner.own(resource);
    const sys = options.sys ?? this.ledger;
    this.kvm = own(Kvm.open(sys));
    this.vm = own(this.kvm.createVm());
    this.ram = own(GuestRam.create(sys, { name: "ram", size: RAM_SIZE }));
    this.root.add(this.ram.region(), 0n);
    const memory = own(createAddressSpace("memory", this.root));
    this.memory = memory;
    own(memory.listen(new MemorySlots(this.vm)));
    if (options.irqchip !== undefined) this.vm.createIrqchip(options.irqchip);
    const count = options.vcpus ?? 1;
    this.vcpus = Array.from({ length: count }, (_, id) => own(this.vm.createVcpu(id)));
    open.add(this);
    this.crashed = new Promise((_, reject) => {
      this.#crash = reject;
    });
    this.#writeTables();
    for (const vcpu of this.vcpus) enterProtectedMode(vcpu);
    this.threads = own(
      VcpuThreads.create(sys, {
        vcpus: this.vcpus,
        entry: options.entry ?? new URL("tiny-vcpu-entry.js", import.meta.url),
        shared: options.shared ?? this.words,
        handler: options.handler ?? this.#handler(),
        onCrash: (error) => this.#crash(error),
      }),
    );
  }

  /** Puts code at its address and vCPU `index` before its first instruction. */
  load(code: ReadonlyArray<readonly number[]>, address = CODE, index = 0): void {
    this.place(address, code.flat());
    this.vcpus[index]!.setRegs({
      rip: BigInt(address),
      rsp: BigInt(0x8000 - 0x1000 * index),
      rflags: 2n,
    });
  }

  place(address: number, bytes: readonly number[]): void {
    this.ram.bytes(address, bytes.length).set(bytes);
  }

  word(address: number): number {
    const { buffer, byteOffset } = this.ram;
    return Atomics.load(new Uint32Array(buffer, byteOffset + address, 1), 0);
  }

  /** An interrupt gate to code at `address`. */
  setGate(vector: number, address: number): void {
    this.place(IDT + vector * 8, [...le16(address), 0x08, 0, 0, 0x8e, ...le16(address >>> 16)]);
  }

  /** Runs until the payload says that it is done (or what it did last is a final exit). */
  async run(): Promise<void> {
    const done = new Promise<void>((resolve) => {
      this.#done = resolve;
    });
    this.threads.resume();
    await done;
  }

  /** Stops, releases, and tells what is still held. */
  async end(): Promise<string[]> {
    await this.threads.stop();
    this[Symbol.dispose]();
    return this.ledger.live();
  }

  [Symbol.dispose](): void {
    open.delete(this);
    this.#owner[Symbol.dispose]();
  }

  /** Flat code and data segments, and an interrupt table. */
  #writeTables(): void {
    const flat = (type: number) => [0xff, 0xff, 0, 0, 0, type, 0xcf, 0];
    this.place(GDT, [...new Array<number>(8).fill(0), ...flat(0x9b), ...flat(0x93)]);
  }

  #handler(): ExitHandler {
    const final = (what: string) => {
      this.log.push(what);
      this.#done?.();
    };
    return {
      pioRead: (port, size) => {
        this.log.push(`in${size} ${port.toString(16)}`);
        return 0x1234_5678 & (2 ** (8 * size) - 1);
      },
      pioWrite: (port, size, value) => {
        if (port === DONE_PORT) this.#done?.();
        else this.log.push(`out${size} ${port.toString(16)} ${value.toString(16)}`);
      },
      mmioRead: (gpa, size) => {
        this.log.push(`read${size} ${gpa.toString(16)}`);
        return BigInt.asUintN(size * 8, 0x8877_6655_4433_2211n);
      },
      mmioWrite: (gpa, size, value) => {
        this.log.push(`write${size} ${gpa.toString(16)} ${value.toString(16)}`);
      },
      ioapicEoi: (vector) => void this.log.push(`eoi ${vector}`),
      systemEvent: (type) => final(`system event ${type}`),
      shutdown: () => final("shutdown"),
      halted: () => final("halted"),
      internalError: ({ what }: VcpuFailure) => final(what),
    };
  }
}

function enterProtectedMode(vcpu: Vcpu): void {
  vcpu.setSregs((sregs) => {
    const data = { base: 0n, limit: 0xffff_ffff, present: 1, dpl: 0, db: 1, s: 1, g: 1 };
    Object.assign(sregs.cs, data, { selector: 8, type: 0xb });
    for (const segment of [sregs.ds, sregs.es, sregs.ss, sregs.fs, sregs.gs]) {
      Object.assign(segment, data, { selector: 16, type: 3 });
    }
    Object.assign(sregs.gdt, { base: BigInt(GDT), limit: 23 });
    Object.assign(sregs.idt, { base: BigInt(IDT), limit: 256 * 8 - 1 });
    sregs.cr0 |= 1n;
  });
}
