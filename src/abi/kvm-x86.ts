/**
 * asm/kvm.h of x86, with the ioctls of linux/kvm.h that carry its structs: what a vCPU holds
 * (registers, MSRs, CPUID, local APIC, FPU), and the interrupt controllers and timer of the PC.
 */

import { array, bytes, flexible, s64, struct, u8, u16, u32, u64, union } from "../layout/struct.ts";
import { _IO, _IOR, _IOW, _IOWR } from "./ioctl.ts";

const KVMIO = 0xae;

/** Where the data of a port exit lies in the run page, in pages. */
export const KVM_PIO_PAGE_OFFSET = 1;
export const KVM_COALESCED_MMIO_PAGE_OFFSET = 2;
export const KVM_DIRTY_LOG_PAGE_OFFSET = 64;

// Exception vectors.
export const DE_VECTOR = 0;
export const DB_VECTOR = 1;
export const BP_VECTOR = 3;
export const UD_VECTOR = 6;
export const NM_VECTOR = 7;
export const DF_VECTOR = 8;
export const GP_VECTOR = 13;
export const PF_VECTOR = 14;
export const MC_VECTOR = 18;

export const KVM_NR_INTERRUPTS = 256;

export const kvm_regs = struct("kvm_regs", 144, {
  rax: u64,
  rbx: u64,
  rcx: u64,
  rdx: u64,
  rsi: u64,
  rdi: u64,
  rsp: u64,
  rbp: u64,
  r8: u64,
  r9: u64,
  r10: u64,
  r11: u64,
  r12: u64,
  r13: u64,
  r14: u64,
  r15: u64,
  rip: u64,
  rflags: u64,
});
export const KVM_GET_REGS = _IOR(KVMIO, 0x81, kvm_regs);
export const KVM_SET_REGS = _IOW(KVMIO, 0x82, kvm_regs);

/** A segment register with its hidden part; `unusable` is 1 for a null selector. */
export const kvm_segment = struct("kvm_segment", 24, {
  base: u64,
  limit: u32,
  selector: u16,
  type: u8,
  present: u8,
  dpl: u8,
  db: u8,
  s: u8,
  l: u8,
  g: u8,
  avl: u8,
  unusable: u8,
  padding: u8,
});
export const kvm_dtable = struct("kvm_dtable", 16, {
  base: u64,
  limit: u16,
  padding: array(u16, 3),
});
const segmentsAndControl = {
  cs: kvm_segment,
  ds: kvm_segment,
  es: kvm_segment,
  fs: kvm_segment,
  gs: kvm_segment,
  ss: kvm_segment,
  tr: kvm_segment,
  ldt: kvm_segment,
  gdt: kvm_dtable,
  idt: kvm_dtable,
  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  cr8: u64,
  efer: u64,
  apic_base: u64,
};
export const kvm_sregs = struct("kvm_sregs", 312, {
  ...segmentsAndControl,
  interrupt_bitmap: array(u64, 4),
});
export const kvm_sregs2 = struct("kvm_sregs2", 320, {
  ...segmentsAndControl,
  flags: u64,
  pdptrs: array(u64, 4),
});
export const KVM_SREGS2_FLAGS_PDPTRS_VALID = 1;
export const KVM_GET_SREGS = _IOR(KVMIO, 0x83, kvm_sregs);
export const KVM_SET_SREGS = _IOW(KVMIO, 0x84, kvm_sregs);
export const KVM_GET_SREGS2 = _IOR(KVMIO, 0xcc, kvm_sregs2);
export const KVM_SET_SREGS2 = _IOW(KVMIO, 0xcd, kvm_sregs2);

export const kvm_fpu = struct("kvm_fpu", 416, {
  fpr: bytes(8 * 16),
  fcw: u16,
  fsw: u16,
  ftwx: u8,
  pad1: u8,
  last_opcode: u16,
  last_ip: u64,
  last_dp: u64,
  xmm: bytes(16 * 16),
  mxcsr: u32,
  pad2: u32,
});
export const KVM_GET_FPU = _IOR(KVMIO, 0x8c, kvm_fpu);
export const KVM_SET_FPU = _IOW(KVMIO, 0x8d, kvm_fpu);

export const kvm_msr_entry = struct("kvm_msr_entry", 16, { index: u32, reserved: u32, data: u64 });
/** The answer of both ioctls is how many of the entries were done. */
export const kvm_msrs = struct("kvm_msrs", 8, {
  nmsrs: u32,
  pad: u32,
  entries: flexible(kvm_msr_entry),
});
export const kvm_msr_list = struct("kvm_msr_list", 4, { nmsrs: u32, indices: flexible(u32) });
export const KVM_GET_MSRS = _IOWR(KVMIO, 0x88, kvm_msrs);
export const KVM_SET_MSRS = _IOW(KVMIO, 0x89, kvm_msrs);
export const KVM_GET_MSR_INDEX_LIST = _IOWR(KVMIO, 0x02, kvm_msr_list);
export const KVM_GET_MSR_FEATURE_INDEX_LIST = _IOWR(KVMIO, 0x0a, kvm_msr_list);

export const KVM_MSR_FILTER_MAX_BITMAP_SIZE = 0x600;
export const KVM_MSR_FILTER_MAX_RANGES = 16;
/** `bitmap` points to one bit per MSR: set, the access is allowed. */
export const kvm_msr_filter_range = struct("kvm_msr_filter_range", 24, {
  flags: u32,
  nmsrs: u32,
  base: u32,
  _pad: u32,
  bitmap: u64,
});
export const KVM_MSR_FILTER_READ = 1 << 0;
export const KVM_MSR_FILTER_WRITE = 1 << 1;
export const kvm_msr_filter = struct("kvm_msr_filter", 392, {
  flags: u32,
  _pad: u32,
  ranges: array(kvm_msr_filter_range, KVM_MSR_FILTER_MAX_RANGES),
});
export const KVM_MSR_FILTER_DEFAULT_ALLOW = 0;
export const KVM_MSR_FILTER_DEFAULT_DENY = 1 << 0;
export const KVM_X86_SET_MSR_FILTER = _IOW(KVMIO, 0xc6, kvm_msr_filter);

export const kvm_cpuid_entry2 = struct("kvm_cpuid_entry2", 40, {
  function: u32,
  index: u32,
  flags: u32,
  eax: u32,
  ebx: u32,
  ecx: u32,
  edx: u32,
  padding: array(u32, 3),
});
export const KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 1 << 0;
export const KVM_CPUID_FLAG_STATEFUL_FUNC = 1 << 1;
export const KVM_CPUID_FLAG_STATE_READ_NEXT = 1 << 2;
/** On GET, `nent` says how many entries fit; E2BIG asks for more. */
export const kvm_cpuid2 = struct("kvm_cpuid2", 8, {
  nent: u32,
  padding: u32,
  entries: flexible(kvm_cpuid_entry2),
});
export const KVM_GET_SUPPORTED_CPUID = _IOWR(KVMIO, 0x05, kvm_cpuid2);
export const KVM_GET_EMULATED_CPUID = _IOWR(KVMIO, 0x09, kvm_cpuid2);
export const KVM_SET_CPUID2 = _IOW(KVMIO, 0x90, kvm_cpuid2);
export const KVM_GET_CPUID2 = _IOWR(KVMIO, 0x91, kvm_cpuid2);

export const KVM_APIC_REG_SIZE = 0x400;
/** The registers of the local APIC as its page shows them: 32 bits at every 16th byte. */
export const kvm_lapic_state = struct("kvm_lapic_state", 1024, { regs: bytes(KVM_APIC_REG_SIZE) });
export const KVM_GET_LAPIC = _IOR(KVMIO, 0x8e, kvm_lapic_state);
export const KVM_SET_LAPIC = _IOW(KVMIO, 0x8f, kvm_lapic_state);

export const kvm_vcpu_events = struct("kvm_vcpu_events", 64, {
  exception: struct("", 8, {
    injected: u8,
    nr: u8,
    has_error_code: u8,
    pending: u8,
    error_code: u32,
  }),
  interrupt: struct("", 4, { injected: u8, nr: u8, soft: u8, shadow: u8 }),
  nmi: struct("", 4, { injected: u8, pending: u8, masked: u8, pad: u8 }),
  sipi_vector: u32,
  flags: u32,
  smi: struct("", 4, { smm: u8, pending: u8, smm_inside_nmi: u8, latched_init: u8 }),
  triple_fault: struct("", 1, { pending: u8 }),
  reserved: bytes(26),
  exception_has_payload: u8,
  exception_payload: u64,
});
export const KVM_VCPUEVENT_VALID_NMI_PENDING = 0x01;
export const KVM_VCPUEVENT_VALID_SIPI_VECTOR = 0x02;
export const KVM_VCPUEVENT_VALID_SHADOW = 0x04;
export const KVM_VCPUEVENT_VALID_SMM = 0x08;
export const KVM_VCPUEVENT_VALID_PAYLOAD = 0x10;
export const KVM_VCPUEVENT_VALID_TRIPLE_FAULT = 0x20;
export const KVM_X86_SHADOW_INT_MOV_SS = 0x01;
export const KVM_X86_SHADOW_INT_STI = 0x02;
export const KVM_GET_VCPU_EVENTS = _IOR(KVMIO, 0x9f, kvm_vcpu_events);
export const KVM_SET_VCPU_EVENTS = _IOW(KVMIO, 0xa0, kvm_vcpu_events);

export const kvm_debugregs = struct("kvm_debugregs", 128, {
  db: array(u64, 4),
  dr6: u64,
  dr7: u64,
  flags: u64,
  reserved: array(u64, 9),
});
export const KVM_GET_DEBUGREGS = _IOR(KVMIO, 0xa1, kvm_debugregs);
export const KVM_SET_DEBUGREGS = _IOW(KVMIO, 0xa2, kvm_debugregs);

/** `extra` is there with KVM_CAP_XSAVE2, which says how long all of it is. */
export const kvm_xsave = struct("kvm_xsave", 4096, {
  region: array(u32, 1024),
  extra: flexible(u32),
});
export const KVM_GET_XSAVE = _IOR(KVMIO, 0xa4, kvm_xsave);
export const KVM_SET_XSAVE = _IOW(KVMIO, 0xa5, kvm_xsave);
export const KVM_GET_XSAVE2 = _IOR(KVMIO, 0xcf, kvm_xsave);

export const KVM_MAX_XCRS = 16;
export const kvm_xcr = struct("kvm_xcr", 16, { xcr: u32, reserved: u32, value: u64 });
export const kvm_xcrs = struct("kvm_xcrs", 392, {
  nr_xcrs: u32,
  flags: u32,
  xcrs: array(kvm_xcr, KVM_MAX_XCRS),
  padding: array(u64, 16),
});
export const KVM_GET_XCRS = _IOR(KVMIO, 0xa6, kvm_xcrs);
export const KVM_SET_XCRS = _IOW(KVMIO, 0xa7, kvm_xcrs);

export const kvm_debug_exit_arch = struct("kvm_debug_exit_arch", 32, {
  exception: u32,
  pad: u32,
  pc: u64,
  dr6: u64,
  dr7: u64,
});

// What the run page's `s.regs` may hold, by kvm_valid_regs and kvm_dirty_regs.
export const KVM_SYNC_X86_REGS = 1 << 0;
export const KVM_SYNC_X86_SREGS = 1 << 1;
export const KVM_SYNC_X86_EVENTS = 1 << 2;
export const kvm_sync_regs = struct("kvm_sync_regs", 520, {
  regs: kvm_regs,
  sregs: kvm_sregs,
  events: kvm_vcpu_events,
});

// `flags` of the run page.
export const KVM_RUN_X86_SMM = 1 << 0;
export const KVM_RUN_X86_BUS_LOCK = 1 << 1;
export const KVM_RUN_X86_GUEST_MODE = 1 << 2;

// The PC's interrupt controllers, for KVM_GET_IRQCHIP.
export const KVM_IRQCHIP_PIC_MASTER = 0;
export const KVM_IRQCHIP_PIC_SLAVE = 1;
export const KVM_IRQCHIP_IOAPIC = 2;
export const KVM_NR_IRQCHIPS = 3;
export const KVM_IOAPIC_NUM_PINS = 24;

export const kvm_pic_state = struct("kvm_pic_state", 16, {
  last_irr: u8,
  irr: u8,
  imr: u8,
  isr: u8,
  priority_add: u8,
  irq_base: u8,
  read_reg_select: u8,
  poll: u8,
  special_mask: u8,
  init_state: u8,
  auto_eoi: u8,
  rotate_on_auto_eoi: u8,
  special_fully_nested_mode: u8,
  init4: u8,
  elcr: u8,
  elcr_mask: u8,
});
/** `redirtbl`: the 64-bit redirection entries of the I/O APIC. */
export const kvm_ioapic_state = struct("kvm_ioapic_state", 216, {
  base_address: u64,
  ioregsel: u32,
  id: u32,
  irr: u32,
  pad: u32,
  redirtbl: array(u64, KVM_IOAPIC_NUM_PINS),
});
export const kvm_irqchip = struct("kvm_irqchip", 520, {
  chip_id: u32,
  pad: u32,
  chip: union("", 512, { dummy: bytes(512), pic: kvm_pic_state, ioapic: kvm_ioapic_state }),
});
export const KVM_GET_IRQCHIP = _IOWR(KVMIO, 0x62, kvm_irqchip);
export const KVM_SET_IRQCHIP = _IOR(KVMIO, 0x63, kvm_irqchip);

// The 8254 timer.
export const kvm_pit_config = struct("kvm_pit_config", 64, { flags: u32, pad: array(u32, 15) });
export const KVM_PIT_SPEAKER_DUMMY = 1;
export const kvm_pit_channel_state = struct("kvm_pit_channel_state", 24, {
  count: u32,
  latched_count: u16,
  count_latched: u8,
  status_latched: u8,
  status: u8,
  read_state: u8,
  write_state: u8,
  write_latch: u8,
  rw_mode: u8,
  mode: u8,
  bcd: u8,
  gate: u8,
  count_load_time: s64,
});
export const kvm_pit_state2 = struct("kvm_pit_state2", 112, {
  channels: array(kvm_pit_channel_state, 3),
  flags: u32,
  reserved: array(u32, 9),
});
export const KVM_PIT_FLAGS_HPET_LEGACY = 0x01;
export const KVM_PIT_FLAGS_SPEAKER_DATA_ON = 0x02;
export const kvm_reinject_control = struct("kvm_reinject_control", 32, {
  pit_reinject: u8,
  reserved: bytes(31),
});
export const KVM_CREATE_PIT2 = _IOW(KVMIO, 0x77, kvm_pit_config);
export const KVM_GET_PIT2 = _IOR(KVMIO, 0x9f, kvm_pit_state2);
export const KVM_SET_PIT2 = _IOW(KVMIO, 0xa0, kvm_pit_state2);
export const KVM_REINJECT_CONTROL = _IO(KVMIO, 0x71);

export const KVM_SET_TSS_ADDR = _IO(KVMIO, 0x47);
export const KVM_SET_IDENTITY_MAP_ADDR = _IOW(KVMIO, 0x48, 8);
export const KVM_SET_BOOT_CPU_ID = _IO(KVMIO, 0x78);
export const KVM_SET_TSC_KHZ = _IO(KVMIO, 0xa2);
export const KVM_GET_TSC_KHZ = _IO(KVMIO, 0xa3);
export const KVM_NMI = _IO(KVMIO, 0x9a);
export const KVM_SMI = _IO(KVMIO, 0xb7);
export const KVM_KVMCLOCK_CTRL = _IO(KVMIO, 0xad);

// Arguments of KVM_CAP_X86_DISABLE_EXITS.
export const KVM_X86_DISABLE_EXITS_MWAIT = 1 << 0;
export const KVM_X86_DISABLE_EXITS_HLT = 1 << 1;
export const KVM_X86_DISABLE_EXITS_PAUSE = 1 << 2;
export const KVM_X86_DISABLE_EXITS_CSTATE = 1 << 3;

// Arguments of KVM_CAP_X2APIC_API.
export const KVM_X2APIC_API_USE_32BIT_IDS = 1 << 0;
export const KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK = 1 << 1;

// Arguments of KVM_CAP_DISABLE_QUIRKS2.
export const KVM_X86_QUIRK_LINT0_REENABLED = 1 << 0;
export const KVM_X86_QUIRK_CD_NW_CLEARED = 1 << 1;
export const KVM_X86_QUIRK_LAPIC_MMIO_HOLE = 1 << 2;
export const KVM_X86_QUIRK_OUT_7E_INC_RIP = 1 << 3;
export const KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT = 1 << 4;
export const KVM_X86_QUIRK_FIX_HYPERCALL_INSN = 1 << 5;
export const KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS = 1 << 6;
export const KVM_X86_QUIRK_SLOT_ZAP_ALL = 1 << 7;
export const KVM_X86_QUIRK_STUFF_FEATURE_MSRS = 1 << 8;
export const KVM_X86_QUIRK_IGNORE_GUEST_PAT = 1 << 9;

// Arguments of KVM_CREATE_VM and answers of KVM_CAP_VM_TYPES (bits).
export const KVM_X86_DEFAULT_VM = 0;
export const KVM_X86_SW_PROTECTED_VM = 1;
export const KVM_X86_SEV_VM = 2;
export const KVM_X86_SEV_ES_VM = 3;
export const KVM_X86_SNP_VM = 4;
export const KVM_X86_TDX_VM = 5;
