/**
 * A vCPU's state when the guest begins: the boot CPU in 64-bit mode at the kernel's entry (The
 * Linux/x86 Boot Protocol, "64-bit Boot Protocol"; page tables and GDT by linux-boot.ts), the
 * others waiting for INIT. `VcpuPowerOn` brings a vCPU back there for a reset of the guest.
 */

import {
  KVM_CAP_TSC_DEADLINE_TIMER,
  KVM_GET_MP_STATE,
  KVM_SET_MP_STATE,
  kvm_mp_state,
} from "../abi/kvm.ts";
import {
  KVM_GET_FPU,
  KVM_GET_LAPIC,
  KVM_GET_REGS,
  KVM_GET_SREGS,
  KVM_GET_VCPU_EVENTS,
  KVM_SET_FPU,
  KVM_SET_LAPIC,
  KVM_SET_REGS,
  KVM_SET_SREGS,
  KVM_SET_VCPU_EVENTS,
  kvm_cpuid_entry2,
  kvm_cpuid2,
  kvm_fpu,
  kvm_lapic_state,
  kvm_regs,
  kvm_sregs,
  kvm_vcpu_events,
} from "../abi/kvm-x86.ts";
import {
  EFER_LMA,
  EFER_LME,
  MSR_IA32_MISC_ENABLE,
  MSR_IA32_MISC_ENABLE_FAST_STRING,
  MSR_MTRRdefType,
  MTRR_DEF_TYPE_ENABLE,
  X86_CR0_ET,
  X86_CR0_MP,
  X86_CR0_NE,
  X86_CR0_PE,
  X86_CR0_PG,
  X86_CR0_WP,
  X86_CR4_PAE,
  X86_EFLAGS_FIXED,
} from "../abi/x86.ts";
import { guestCpuid } from "../kvm/cpuid.ts";
import type { Sregs, Vcpu } from "../kvm/vcpu.ts";
import type { Vm } from "../kvm/vm.ts";
import { check } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { BOOT_CS, BOOT_DS, GDT, GDT_LIMIT, type LinuxEntry, PAGE_TABLES } from "./linux-boot.ts";

const MTRR_TYPE_WRITE_BACK = 6;

/**
 * What firmware sets on every CPU: memory is write-back unless a page says otherwise, and string
 * instructions are fast. A vendor's CPU that lacks one of these MSRs does without it.
 */
const FIRMWARE_MSRS: ReadonlyArray<readonly [number, number]> = [
  [MSR_MTRRdefType, MTRR_DEF_TYPE_ENABLE | MTRR_TYPE_WRITE_BACK],
  [MSR_IA32_MISC_ENABLE, MSR_IA32_MISC_ENABLE_FAST_STRING],
];

/**
 * Paravirtual MSRs by which a kernel gave KVM addresses in its memory (Documentation/virt/kvm/x86/
 * msr.rst): the next kernel's memory must not be written to.
 */
const KVM_MSRS_TO_CLEAR = [
  0x11, 0x12, 0x4b56_4d00, 0x4b56_4d01, 0x4b56_4d02, 0x4b56_4d03, 0x4b56_4d04, 0x4b56_4d06,
];

function setMsrIfThere(vcpu: Vcpu, index: number, data: bigint): void {
  try {
    vcpu.setMsrs([{ index, data }]);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
}

const PHYSICAL_ADDRESS_LEAF = 0x8000_0008;

/**
 * Gives a vCPU its CPUID and sets what firmware would have set. Once, before it runs.
 * @param supported `Kvm.supportedCpuid`
 */
export function prepareCpu(vm: Vm, vcpu: Vcpu, supported: Uint8Array, count: number): void {
  const tscDeadline = vm.extension(KVM_CAP_TSC_DEADLINE_TIMER) > 0;
  vcpu.setCpuid(guestCpuid(supported, { apicId: vcpu.id, count, tscDeadline }));
  applyFirmwareMsrs(vcpu);
}

/** Width of a guest-physical address, 36 where CPUID does not say. */
export function physicalAddressBits(supported: Uint8Array): number {
  const { nent } = kvm_cpuid2.at(supported);
  for (let i = 0; i < nent; i++) {
    const entry = kvm_cpuid_entry2.at(supported, kvm_cpuid2.size + i * kvm_cpuid_entry2.size);
    if (entry.function === PHYSICAL_ADDRESS_LEAF) return entry.eax & 0xff;
  }
  return 36;
}

function applyFirmwareMsrs(vcpu: Vcpu): void {
  for (const [index, data] of FIRMWARE_MSRS) setMsrIfThere(vcpu, index, BigInt(data));
}

const FLAT = { base: 0n, limit: 0xffff_ffff, present: 1, dpl: 0, s: 1, g: 1, avl: 0, unusable: 0 };
const CODE_64 = { ...FLAT, selector: BOOT_CS, type: 11, db: 0, l: 1 };
const DATA = { ...FLAT, selector: BOOT_DS, type: 3, db: 1, l: 0 };

function enterLongMode(sregs: Sregs): void {
  Object.assign(sregs.cs, CODE_64);
  for (const segment of [sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss]) {
    Object.assign(segment, DATA);
  }
  Object.assign(sregs.gdt, { base: BigInt(GDT), limit: GDT_LIMIT });
  Object.assign(sregs.idt, { base: 0n, limit: 0 });
  const cr0 = (X86_CR0_PG | X86_CR0_WP | X86_CR0_NE | X86_CR0_ET | X86_CR0_MP | X86_CR0_PE) >>> 0;
  sregs.cr0 = BigInt(cr0);
  sregs.cr3 = BigInt(PAGE_TABLES);
  sregs.cr4 = BigInt(X86_CR4_PAE);
  sregs.efer = BigInt(EFER_LME | EFER_LMA);
}

/** Puts the boot CPU at a kernel's entry. */
export function startBootCpu(vcpu: Vcpu, entry: LinuxEntry): void {
  vcpu.setSregs(enterLongMode);
  vcpu.setRegs({
    rip: BigInt(entry.rip),
    rsi: BigInt(entry.rsi),
    rflags: BigInt(X86_EFLAGS_FIXED),
  });
}

/** What a vCPU holds that a reset puts back; in the order in which it is put back. */
const POWER_ON_STATE = [
  { name: "KVM_SET_SREGS", get: KVM_GET_SREGS, set: KVM_SET_SREGS, size: kvm_sregs.size },
  { name: "KVM_SET_REGS", get: KVM_GET_REGS, set: KVM_SET_REGS, size: kvm_regs.size },
  { name: "KVM_SET_FPU", get: KVM_GET_FPU, set: KVM_SET_FPU, size: kvm_fpu.size },
  { name: "KVM_SET_LAPIC", get: KVM_GET_LAPIC, set: KVM_SET_LAPIC, size: kvm_lapic_state.size },
  {
    name: "KVM_SET_VCPU_EVENTS",
    get: KVM_GET_VCPU_EVENTS,
    set: KVM_SET_VCPU_EVENTS,
    size: kvm_vcpu_events.size,
  },
  {
    name: "KVM_SET_MP_STATE",
    get: KVM_GET_MP_STATE,
    set: KVM_SET_MP_STATE,
    size: kvm_mp_state.size,
  },
] as const;

/** A vCPU's state as KVM made it, for a reset of the guest. */
export class VcpuPowerOn {
  readonly #sys: Syscalls;
  readonly #vcpu: Vcpu;
  readonly #saved: Uint8Array[];

  /** Remembers; the vCPU has not run yet. */
  constructor(sys: Syscalls, vcpu: Vcpu) {
    this.#sys = sys;
    this.#vcpu = vcpu;
    this.#saved = POWER_ON_STATE.map(({ name, get, size }) => {
      const bytes = new Uint8Array(size);
      check(sys.ioctl(vcpu.fd, get, bytes), `vCPU ${vcpu.id}: before ${name}`);
      return bytes;
    });
  }

  /** The vCPU's thread rests. @throws {SysError} */
  restore(): void {
    const vcpu = this.#vcpu;
    for (const index of KVM_MSRS_TO_CLEAR) setMsrIfThere(vcpu, index, 0n);
    POWER_ON_STATE.forEach(({ name, set }, at) => {
      check(this.#sys.ioctl(vcpu.fd, set, this.#saved[at]!), `vCPU ${vcpu.id}: ${name}`);
    });
  }
}
