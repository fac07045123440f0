/**
 * Vcpu: one virtual processor: its descriptor, its run page, and its state while it does not run.
 * `VcpuThreads` runs it. Structs go in and out as in asm/kvm.h; a setter changes the fields given and
 * keeps the others.
 */

import { KVM_CREATE_VCPU, KVM_GET_MP_STATE, KVM_SET_MP_STATE, kvm_mp_state } from "../abi/kvm.ts";
import {
  KVM_GET_FPU,
  KVM_GET_LAPIC,
  KVM_GET_MSRS,
  KVM_GET_REGS,
  KVM_GET_SREGS,
  KVM_SET_CPUID2,
  KVM_SET_FPU,
  KVM_SET_LAPIC,
  KVM_SET_MSRS,
  KVM_SET_REGS,
  KVM_SET_SREGS,
  kvm_fpu,
  kvm_lapic_state,
  kvm_msr_entry,
  kvm_msrs,
  kvm_regs,
  kvm_sregs,
} from "../abi/kvm-x86.ts";
import { OwnedFd } from "../sys/fd.ts";
import { Owner } from "../sys/owner.ts";
import { SharedOverlay } from "../sys/shared-overlay.ts";
import { check, ViaductError } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { RunPage } from "./run-page.ts";
import type { Vm } from "./vm.ts";

const PAGE = 4096;

export type Regs = ReturnType<typeof kvm_regs.at>;
export type Sregs = ReturnType<typeof kvm_sregs.at>;
export type Fpu = ReturnType<typeof kvm_fpu.at>;

export interface Msr {
  readonly index: number;
  readonly data: bigint;
}

export class Vcpu implements Disposable {
  readonly id: number;
  readonly run: RunPage;
  /** The run page's memory, for the vCPU's Worker. */
  readonly runMemory: SharedOverlay;
  readonly #sys: Syscalls;
  readonly #vcpu: OwnedFd;
  readonly #owner: Owner;

  private constructor(
    sys: Syscalls,
    parts: { id: number; vcpu: OwnedFd; runMemory: SharedOverlay; owner: Owner },
  ) {
    this.#sys = sys;
    this.id = parts.id;
    this.runMemory = parts.runMemory;
    const { buffer, byteOffset, size } = parts.runMemory;
    this.run = new RunPage(buffer, byteOffset, size);
    this.#vcpu = parts.vcpu;
    this.#owner = parts.owner;
  }

  /** @throws {ViaductError} KVM_FAILED: EEXIST, or more vCPUs than KVM has */
  static create(vm: Vm, id: number): Vcpu {
    const { sys } = vm;
    using owner = new Owner();
    try {
      const fd = check(sys.ioctl(vm.fd, KVM_CREATE_VCPU, id), "KVM_CREATE_VCPU");
      const vcpu = owner.own(new OwnedFd(sys, fd));
      const runMemory = owner.own(
        SharedOverlay.map(sys, { fd, size: vm.kvm.vcpuMmapSize, align: PAGE }),
      );
      return new Vcpu(sys, { id, vcpu, runMemory, owner: owner.move() });
    } catch (error) {
      throw new ViaductError(
        "KVM_FAILED",
        `KVM: Cannot create vCPU ${id}: ${(error as Error).message}`,
        { cause: error },
      );
    }
  }

  get fd(): number {
    return this.#vcpu.fd;
  }

  getRegs(): Regs {
    const bytes = kvm_regs.bytes();
    this.#ioctl(KVM_GET_REGS, bytes, "KVM_GET_REGS");
    return kvm_regs.at(bytes);
  }

  setRegs(change: Partial<Regs>): void {
    const bytes = kvm_regs.bytes();
    this.#ioctl(KVM_GET_REGS, bytes, "KVM_GET_REGS");
    Object.assign(kvm_regs.at(bytes), change);
    this.#ioctl(KVM_SET_REGS, bytes, "KVM_SET_REGS");
  }

  getSregs(): Sregs {
    const bytes = kvm_sregs.bytes();
    this.#ioctl(KVM_GET_SREGS, bytes, "KVM_GET_SREGS");
    return kvm_sregs.at(bytes);
  }

  /** @param change edits the present special registers in place */
  setSregs(change: (sregs: Sregs) => void): void {
    const bytes = kvm_sregs.bytes();
    this.#ioctl(KVM_GET_SREGS, bytes, "KVM_GET_SREGS");
    change(kvm_sregs.at(bytes));
    this.#ioctl(KVM_SET_SREGS, bytes, "KVM_SET_SREGS");
  }

  /** @param table `struct kvm_cpuid2` with its entries; before the first run */
  setCpuid(table: Uint8Array): void {
    this.#ioctl(KVM_SET_CPUID2, table, "KVM_SET_CPUID2");
  }

  /** @throws {RangeError} naming the first MSR that KVM does not take */
  setMsrs(msrs: readonly Msr[]): void {
    const bytes = kvm_msrs.bytes({ nmsrs: msrs.length, entries: msrs });
    const done = this.#ioctl(KVM_SET_MSRS, bytes, "KVM_SET_MSRS");
    const refused = msrs[done];
    if (refused !== undefined) {
      throw new RangeError(
        `vCPU ${this.id}: KVM refused MSR 0x${refused.index.toString(16)} = 0x${refused.data.toString(16)}`,
      );
    }
  }

  /** The values of those of `indices` before the first that KVM does not know. */
  getMsrs(indices: readonly number[]): Msr[] {
    const entries = indices.map((index) => ({ index }));
    const bytes = kvm_msrs.bytes({ nmsrs: indices.length, entries });
    const done = this.#ioctl(KVM_GET_MSRS, bytes, "KVM_GET_MSRS");
    return Array.from({ length: done }, (_, at) => {
      const entry = kvm_msr_entry.at(bytes, kvm_msrs.size + at * kvm_msr_entry.size);
      return { index: entry.index, data: entry.data };
    });
  }

  /** KVM_MP_STATE_*: whether it runs, waits for INIT, or is halted. */
  get mpState(): number {
    const bytes = kvm_mp_state.bytes();
    this.#ioctl(KVM_GET_MP_STATE, bytes, "KVM_GET_MP_STATE");
    return kvm_mp_state.at(bytes).mp_state;
  }

  set mpState(mp_state: number) {
    this.#ioctl(KVM_SET_MP_STATE, kvm_mp_state.bytes({ mp_state }), "KVM_SET_MP_STATE");
  }

  setFpu(change: (fpu: Fpu) => void): void {
    const bytes = kvm_fpu.bytes();
    this.#ioctl(KVM_GET_FPU, bytes, "KVM_GET_FPU");
    change(kvm_fpu.at(bytes));
    this.#ioctl(KVM_SET_FPU, bytes, "KVM_SET_FPU");
  }

  /** The local APIC's registers: 32 bits at every 16th byte. */
  getLapic(): Uint8Array {
    const bytes = kvm_lapic_state.bytes();
    this.#ioctl(KVM_GET_LAPIC, bytes, "KVM_GET_LAPIC");
    return bytes;
  }

  setLapic(registers: Uint8Array): void {
    this.#ioctl(KVM_SET_LAPIC, registers, "KVM_SET_LAPIC");
  }

  /** Releases the run page and the descriptor; no thread may run it any more. Idempotent. */
  [Symbol.dispose](): void {
    this.#owner[Symbol.dispose]();
  }

  #ioctl(request: number, arg: Uint8Array, what: string): number {
    return check(this.#sys.ioctl(this.fd, request, arg), `vCPU ${this.id}: ${what}`);
  }
}
