/**
 * linux/kvm.h: the ioctls of /dev/kvm, of a VM and of a vCPU that every architecture has, with
 * their structs, and the capabilities an x86 VMM asks for. What is x86's own is in `kvm-x86.ts`,
 * the run page in `kvm-run.ts`.
 */

import {
  array,
  bytes,
  flexible,
  flexibleBytes,
  overlay,
  s16,
  s32,
  struct,
  u8,
  u16,
  u32,
  u64,
  union,
} from "../layout/struct.ts";
import { _IO, _IOR, _IOW, _IOWR } from "./ioctl.ts";

export const KVM_API_VERSION = 12;
export const KVMIO = 0xae;

// On /dev/kvm.
export const KVM_GET_API_VERSION = _IO(KVMIO, 0x00);
export const KVM_CREATE_VM = _IO(KVMIO, 0x01);
/** On a VM too, where the answer is that VM's. */
export const KVM_CHECK_EXTENSION = _IO(KVMIO, 0x03);
export const KVM_GET_VCPU_MMAP_SIZE = _IO(KVMIO, 0x04);

// On a VM.
export const KVM_CREATE_VCPU = _IO(KVMIO, 0x41);
export const KVM_CREATE_IRQCHIP = _IO(KVMIO, 0x60);

export const kvm_userspace_memory_region = struct("kvm_userspace_memory_region", 32, {
  slot: u32,
  flags: u32,
  guest_phys_addr: u64,
  memory_size: u64,
  userspace_addr: u64,
});
export const kvm_userspace_memory_region2 = struct("kvm_userspace_memory_region2", 160, {
  slot: u32,
  flags: u32,
  guest_phys_addr: u64,
  memory_size: u64,
  userspace_addr: u64,
  guest_memfd_offset: u64,
  guest_memfd: u32,
  pad1: u32,
  pad2: array(u64, 14),
});
export const KVM_MEM_LOG_DIRTY_PAGES = 1 << 0;
export const KVM_MEM_READONLY = 1 << 1;
export const KVM_MEM_GUEST_MEMFD = 1 << 2;
export const KVM_SET_USER_MEMORY_REGION = _IOW(KVMIO, 0x46, kvm_userspace_memory_region);
export const KVM_SET_USER_MEMORY_REGION2 = _IOW(KVMIO, 0x49, kvm_userspace_memory_region2);

/** `dirty_bitmap` points to one bit per page of the slot, in 64-bit words. */
export const kvm_dirty_log = struct("kvm_dirty_log", 16, {
  slot: u32,
  padding1: u32,
  _: overlay({ dirty_bitmap: u64, padding2: u64 }),
});
export const kvm_clear_dirty_log = struct("kvm_clear_dirty_log", 24, {
  slot: u32,
  num_pages: u32,
  first_page: u64,
  _: overlay({ dirty_bitmap: u64, padding2: u64 }),
});
export const KVM_GET_DIRTY_LOG = _IOW(KVMIO, 0x42, kvm_dirty_log);
export const KVM_CLEAR_DIRTY_LOG = _IOWR(KVMIO, 0xc0, kvm_clear_dirty_log);
// Arguments of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2.
export const KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE = 1 << 0;
export const KVM_DIRTY_LOG_INITIALLY_SET = 1 << 1;

/** An entry of a vCPU's dirty ring, mapped at KVM_DIRTY_LOG_PAGE_OFFSET of its fd. */
export const kvm_dirty_gfn = struct("kvm_dirty_gfn", 16, { flags: u32, slot: u32, offset: u64 });
export const KVM_DIRTY_GFN_F_DIRTY = 1 << 0;
export const KVM_DIRTY_GFN_F_RESET = 1 << 1;
export const KVM_DIRTY_GFN_F_MASK = 0x3;
export const KVM_RESET_DIRTY_RINGS = _IO(KVMIO, 0xc7);

export const kvm_memory_attributes = struct("kvm_memory_attributes", 32, {
  address: u64,
  size: u64,
  attributes: u64,
  flags: u64,
});
export const KVM_MEMORY_ATTRIBUTE_PRIVATE = 1 << 3;
export const KVM_SET_MEMORY_ATTRIBUTES = _IOW(KVMIO, 0xd2, kvm_memory_attributes);
export const kvm_create_guest_memfd = struct("kvm_create_guest_memfd", 64, {
  size: u64,
  flags: u64,
  reserved: array(u64, 6),
});
export const KVM_CREATE_GUEST_MEMFD = _IOWR(KVMIO, 0xd4, kvm_create_guest_memfd);
export const kvm_pre_fault_memory = struct("kvm_pre_fault_memory", 64, {
  gpa: u64,
  size: u64,
  flags: u64,
  padding: array(u64, 5),
});
export const KVM_PRE_FAULT_MEMORY = _IOWR(KVMIO, 0xd5, kvm_pre_fault_memory);

export const kvm_coalesced_mmio_zone = struct("kvm_coalesced_mmio_zone", 16, {
  addr: u64,
  size: u32,
  _: overlay({ pad: u32, pio: u32 }),
});
export const kvm_coalesced_mmio = struct("kvm_coalesced_mmio", 24, {
  phys_addr: u64,
  len: u32,
  _: overlay({ pad: u32, pio: u32 }),
  data: bytes(8),
});
/** At KVM_COALESCED_MMIO_PAGE_OFFSET of the run page; the kernel moves `last`, we move `first`. */
export const kvm_coalesced_mmio_ring = struct("kvm_coalesced_mmio_ring", 8, {
  first: u32,
  last: u32,
  coalesced_mmio: flexible(kvm_coalesced_mmio),
});
export const KVM_REGISTER_COALESCED_MMIO = _IOW(KVMIO, 0x67, kvm_coalesced_mmio_zone);
export const KVM_UNREGISTER_COALESCED_MMIO = _IOW(KVMIO, 0x68, kvm_coalesced_mmio_zone);

// Interrupts: lines, routes, messages, eventfds.
export const kvm_irq_level = struct("kvm_irq_level", 8, {
  _: overlay({ irq: u32, status: s32 }),
  level: u32,
});
export const KVM_IRQ_LINE = _IOW(KVMIO, 0x61, kvm_irq_level);
/** Writes to `status` how many CPUs took it; 0: it merged with one pending, -1: it was masked. */
export const KVM_IRQ_LINE_STATUS = _IOWR(KVMIO, 0x67, kvm_irq_level);

export const kvm_irq_routing_irqchip = struct("kvm_irq_routing_irqchip", 8, {
  irqchip: u32,
  pin: u32,
});
export const kvm_irq_routing_msi = struct("kvm_irq_routing_msi", 16, {
  address_lo: u32,
  address_hi: u32,
  data: u32,
  _: overlay({ pad: u32, devid: u32 }),
});
export const kvm_irq_routing_s390_adapter = struct("kvm_irq_routing_s390_adapter", 32, {
  ind_addr: u64,
  summary_addr: u64,
  ind_offset: u64,
  summary_offset: u32,
  adapter_id: u32,
});
export const kvm_irq_routing_hv_sint = struct("kvm_irq_routing_hv_sint", 8, {
  vcpu: u32,
  sint: u32,
});
export const kvm_irq_routing_xen_evtchn = struct("kvm_irq_routing_xen_evtchn", 12, {
  port: u32,
  vcpu: u32,
  priority: u32,
});
export const KVM_IRQ_ROUTING_IRQCHIP = 1;
export const KVM_IRQ_ROUTING_MSI = 2;
export const KVM_IRQ_ROUTING_S390_ADAPTER = 3;
export const KVM_IRQ_ROUTING_HV_SINT = 4;
export const KVM_IRQ_ROUTING_XEN_EVTCHN = 5;
export const kvm_irq_routing_entry = struct("kvm_irq_routing_entry", 48, {
  gsi: u32,
  type: u32,
  flags: u32,
  pad: u32,
  u: union("", 32, {
    irqchip: kvm_irq_routing_irqchip,
    msi: kvm_irq_routing_msi,
    adapter: kvm_irq_routing_s390_adapter,
    hv_sint: kvm_irq_routing_hv_sint,
    xen_evtchn: kvm_irq_routing_xen_evtchn,
    pad: array(u32, 8),
  }),
});
/** The whole table at once: what is left out is gone. */
export const kvm_irq_routing = struct("kvm_irq_routing", 8, {
  nr: u32,
  flags: u32,
  entries: flexible(kvm_irq_routing_entry),
});
export const KVM_SET_GSI_ROUTING = _IOW(KVMIO, 0x6a, kvm_irq_routing);

export const kvm_irqfd = struct("kvm_irqfd", 32, {
  fd: u32,
  gsi: u32,
  flags: u32,
  resamplefd: u32,
  pad: bytes(16),
});
export const KVM_IRQFD_FLAG_DEASSIGN = 1 << 0;
export const KVM_IRQFD_FLAG_RESAMPLE = 1 << 1;
export const KVM_IRQFD = _IOW(KVMIO, 0x76, kvm_irqfd);

/** `len` 0 (memory, KVM_CAP_IOEVENTFD_ANY_LENGTH) takes a write of any width. */
export const kvm_ioeventfd = struct("kvm_ioeventfd", 64, {
  datamatch: u64,
  addr: u64,
  len: u32,
  fd: s32,
  flags: u32,
  pad: bytes(36),
});
export const KVM_IOEVENTFD_FLAG_DATAMATCH = 1 << 0;
export const KVM_IOEVENTFD_FLAG_PIO = 1 << 1;
export const KVM_IOEVENTFD_FLAG_DEASSIGN = 1 << 2;
export const KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY = 1 << 3;
export const KVM_IOEVENTFD = _IOW(KVMIO, 0x79, kvm_ioeventfd);

export const kvm_msi = struct("kvm_msi", 32, {
  address_lo: u32,
  address_hi: u32,
  data: u32,
  flags: u32,
  devid: u32,
  pad: bytes(12),
});
export const KVM_MSI_VALID_DEVID = 1 << 0;
export const KVM_SIGNAL_MSI = _IOW(KVMIO, 0xa5, kvm_msi);

export const kvm_interrupt = struct("kvm_interrupt", 4, { irq: u32 });
export const KVM_INTERRUPT = _IOW(KVMIO, 0x86, kvm_interrupt);

// vCPU and VM state that every architecture has.
export const kvm_mp_state = struct("kvm_mp_state", 4, { mp_state: u32 });
export const KVM_MP_STATE_RUNNABLE = 0;
export const KVM_MP_STATE_UNINITIALIZED = 1;
export const KVM_MP_STATE_INIT_RECEIVED = 2;
export const KVM_MP_STATE_HALTED = 3;
export const KVM_MP_STATE_SIPI_RECEIVED = 4;
export const KVM_GET_MP_STATE = _IOR(KVMIO, 0x98, kvm_mp_state);
export const KVM_SET_MP_STATE = _IOW(KVMIO, 0x99, kvm_mp_state);

export const kvm_clock_data = struct("kvm_clock_data", 48, {
  clock: u64,
  flags: u32,
  pad0: u32,
  realtime: u64,
  host_tsc: u64,
  pad: array(u32, 4),
});
export const KVM_CLOCK_TSC_STABLE = 2;
export const KVM_CLOCK_REALTIME = 1 << 2;
export const KVM_CLOCK_HOST_TSC = 1 << 3;
export const KVM_SET_CLOCK = _IOW(KVMIO, 0x7b, kvm_clock_data);
export const KVM_GET_CLOCK = _IOR(KVMIO, 0x7c, kvm_clock_data);

export const kvm_enable_cap = struct("kvm_enable_cap", 104, {
  cap: u32,
  flags: u32,
  args: array(u64, 4),
  pad: bytes(64),
});
export const KVM_ENABLE_CAP = _IOW(KVMIO, 0xa3, kvm_enable_cap);

export const kvm_translation = struct("kvm_translation", 24, {
  linear_address: u64,
  physical_address: u64,
  valid: u8,
  writeable: u8,
  usermode: u8,
  pad: bytes(5),
});
export const KVM_TRANSLATE = _IOWR(KVMIO, 0x85, kvm_translation);

/** `sigset`: the kernel's set, 8 bytes; applied while KVM_RUN runs. */
export const kvm_signal_mask = struct("kvm_signal_mask", 4, { len: u32, sigset: flexibleBytes() });
export const KVM_SET_SIGNAL_MASK = _IOW(KVMIO, 0x8b, kvm_signal_mask);

export const kvm_one_reg = struct("kvm_one_reg", 16, { id: u64, addr: u64 });
export const KVM_GET_ONE_REG = _IOW(KVMIO, 0xab, kvm_one_reg);
export const KVM_SET_ONE_REG = _IOW(KVMIO, 0xac, kvm_one_reg);

export const KVM_GUESTDBG_ENABLE = 0x1;
export const KVM_GUESTDBG_SINGLESTEP = 0x2;

// Devices of a VM: KVM_DEV_TYPE_VFIO knows the groups, or the device files, in use.
export const kvm_create_device = struct("kvm_create_device", 12, {
  type: u32,
  fd: u32,
  flags: u32,
});
export const KVM_CREATE_DEVICE_TEST = 1;
export const kvm_device_attr = struct("kvm_device_attr", 24, {
  flags: u32,
  group: u32,
  attr: u64,
  addr: u64,
});
export const KVM_CREATE_DEVICE = _IOWR(KVMIO, 0xe0, kvm_create_device);
export const KVM_SET_DEVICE_ATTR = _IOW(KVMIO, 0xe1, kvm_device_attr);
export const KVM_GET_DEVICE_ATTR = _IOW(KVMIO, 0xe2, kvm_device_attr);
export const KVM_HAS_DEVICE_ATTR = _IOW(KVMIO, 0xe3, kvm_device_attr);
export const KVM_DEV_TYPE_VFIO = 4;
export const KVM_DEV_VFIO_FILE = 1;
export const KVM_DEV_VFIO_FILE_ADD = 1;
export const KVM_DEV_VFIO_FILE_DEL = 2;
export const KVM_DEV_VFIO_GROUP = 1;
export const KVM_DEV_VFIO_GROUP_ADD = 1;
export const KVM_DEV_VFIO_GROUP_DEL = 2;
export const KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE = 3;
export const kvm_vfio_spapr_tce = struct("kvm_vfio_spapr_tce", 8, { groupfd: s32, tablefd: s32 });

// Binary statistics: one fd per VM and vCPU, from KVM_GET_STATS_FD.
export const KVM_GET_STATS_FD = _IO(KVMIO, 0xce);
export const kvm_stats_header = struct("kvm_stats_header", 24, {
  flags: u32,
  name_size: u32,
  num_desc: u32,
  id_offset: u32,
  desc_offset: u32,
  data_offset: u32,
});
/** `name` is `name_size` bytes long, ended by NUL; `size` counts 64-bit values. */
export const kvm_stats_desc = struct("kvm_stats_desc", 16, {
  flags: u32,
  exponent: s16,
  size: u16,
  offset: u32,
  bucket_size: u32,
  name: flexibleBytes(),
});

// Capabilities, for KVM_CHECK_EXTENSION and KVM_ENABLE_CAP.
export const KVM_CAP_IRQCHIP = 0;
export const KVM_CAP_HLT = 1;
export const KVM_CAP_USER_MEMORY = 3;
export const KVM_CAP_SET_TSS_ADDR = 4;
export const KVM_CAP_VAPIC = 6;
export const KVM_CAP_EXT_CPUID = 7;
export const KVM_CAP_CLOCKSOURCE = 8;
export const KVM_CAP_NR_VCPUS = 9;
export const KVM_CAP_NR_MEMSLOTS = 10;
export const KVM_CAP_PIT = 11;
export const KVM_CAP_MP_STATE = 14;
export const KVM_CAP_COALESCED_MMIO = 15;
export const KVM_CAP_SYNC_MMU = 16;
export const KVM_CAP_DESTROY_MEMORY_REGION_WORKS = 21;
export const KVM_CAP_USER_NMI = 22;
export const KVM_CAP_SET_GUEST_DEBUG = 23;
export const KVM_CAP_REINJECT_CONTROL = 24;
export const KVM_CAP_IRQ_ROUTING = 25;
export const KVM_CAP_IRQ_INJECT_STATUS = 26;
export const KVM_CAP_JOIN_MEMORY_REGIONS_WORKS = 30;
export const KVM_CAP_MCE = 31;
export const KVM_CAP_IRQFD = 32;
export const KVM_CAP_PIT2 = 33;
export const KVM_CAP_SET_BOOT_CPU_ID = 34;
export const KVM_CAP_PIT_STATE2 = 35;
export const KVM_CAP_IOEVENTFD = 36;
export const KVM_CAP_SET_IDENTITY_MAP_ADDR = 37;
export const KVM_CAP_ADJUST_CLOCK = 39;
export const KVM_CAP_INTERNAL_ERROR_DATA = 40;
export const KVM_CAP_VCPU_EVENTS = 41;
export const KVM_CAP_INTR_SHADOW = 49;
export const KVM_CAP_DEBUGREGS = 50;
export const KVM_CAP_X86_ROBUST_SINGLESTEP = 51;
export const KVM_CAP_ENABLE_CAP = 54;
export const KVM_CAP_XSAVE = 55;
export const KVM_CAP_XCRS = 56;
export const KVM_CAP_ASYNC_PF = 59;
export const KVM_CAP_TSC_CONTROL = 60;
export const KVM_CAP_GET_TSC_KHZ = 61;
export const KVM_CAP_MAX_VCPUS = 66;
export const KVM_CAP_ONE_REG = 70;
export const KVM_CAP_TSC_DEADLINE_TIMER = 72;
export const KVM_CAP_SYNC_REGS = 74;
export const KVM_CAP_KVMCLOCK_CTRL = 76;
export const KVM_CAP_SIGNAL_MSI = 77;
export const KVM_CAP_READONLY_MEM = 81;
export const KVM_CAP_IRQFD_RESAMPLE = 82;
export const KVM_CAP_DEVICE_CTRL = 89;
export const KVM_CAP_EXT_EMUL_CPUID = 95;
export const KVM_CAP_IOAPIC_POLARITY_IGNORED = 97;
export const KVM_CAP_ENABLE_CAP_VM = 98;
export const KVM_CAP_IOEVENTFD_NO_LENGTH = 100;
export const KVM_CAP_VM_ATTRIBUTES = 101;
export const KVM_CAP_CHECK_EXTENSION_VM = 105;
export const KVM_CAP_DISABLE_QUIRKS = 116;
export const KVM_CAP_X86_SMM = 117;
export const KVM_CAP_MULTI_ADDRESS_SPACE = 118;
export const KVM_CAP_GUEST_DEBUG_HW_BPS = 119;
export const KVM_CAP_GUEST_DEBUG_HW_WPS = 120;
export const KVM_CAP_SPLIT_IRQCHIP = 121;
export const KVM_CAP_IOEVENTFD_ANY_LENGTH = 122;
export const KVM_CAP_VCPU_ATTRIBUTES = 127;
export const KVM_CAP_MAX_VCPU_ID = 128;
export const KVM_CAP_X2APIC_API = 129;
export const KVM_CAP_MSI_DEVID = 131;
export const KVM_CAP_IMMEDIATE_EXIT = 136;
export const KVM_CAP_X86_DISABLE_EXITS = 143;
export const KVM_CAP_GET_MSR_FEATURES = 153;
export const KVM_CAP_NESTED_STATE = 157;
export const KVM_CAP_MSR_PLATFORM_INFO = 159;
export const KVM_CAP_COALESCED_PIO = 162;
export const KVM_CAP_EXCEPTION_PAYLOAD = 164;
export const KVM_CAP_MANUAL_DIRTY_LOG_PROTECT = 166;
export const KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 = 168;
export const KVM_CAP_PMU_EVENT_FILTER = 173;
export const KVM_CAP_HALT_POLL = 182;
export const KVM_CAP_ASYNC_PF_INT = 183;
export const KVM_CAP_LAST_CPU = 184;
export const KVM_CAP_SMALLER_MAXPHYADDR = 185;
export const KVM_CAP_X86_USER_SPACE_MSR = 188;
export const KVM_CAP_X86_MSR_FILTER = 189;
export const KVM_CAP_ENFORCE_PV_FEATURE_CPUID = 190;
export const KVM_CAP_DIRTY_LOG_RING = 192;
export const KVM_CAP_X86_BUS_LOCK_EXIT = 193;
export const KVM_CAP_SET_GUEST_DEBUG2 = 195;
export const KVM_CAP_VM_COPY_ENC_CONTEXT_FROM = 197;
export const KVM_CAP_SREGS2 = 200;
export const KVM_CAP_EXIT_HYPERCALL = 201;
export const KVM_CAP_BINARY_STATS_FD = 203;
export const KVM_CAP_EXIT_ON_EMULATION_FAILURE = 204;
export const KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM = 206;
export const KVM_CAP_VM_GPA_BITS = 207;
export const KVM_CAP_XSAVE2 = 208;
export const KVM_CAP_SYS_ATTRIBUTES = 209;
export const KVM_CAP_PMU_CAPABILITY = 212;
export const KVM_CAP_DISABLE_QUIRKS2 = 213;
export const KVM_CAP_VM_TSC_CONTROL = 214;
export const KVM_CAP_SYSTEM_EVENT_DATA = 215;
export const KVM_CAP_X86_TRIPLE_FAULT_EVENT = 218;
export const KVM_CAP_X86_NOTIFY_VMEXIT = 219;
export const KVM_CAP_VM_DISABLE_NX_HUGE_PAGES = 220;
export const KVM_CAP_DIRTY_LOG_RING_ACQ_REL = 223;
export const KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP = 225;
export const KVM_CAP_PMU_EVENT_MASKED_EVENTS = 226;
export const KVM_CAP_COUNTER_OFFSET = 227;
export const KVM_CAP_USER_MEMORY2 = 231;
export const KVM_CAP_MEMORY_FAULT_INFO = 232;
export const KVM_CAP_MEMORY_ATTRIBUTES = 233;
export const KVM_CAP_GUEST_MEMFD = 234;
export const KVM_CAP_VM_TYPES = 235;
export const KVM_CAP_PRE_FAULT_MEMORY = 236;
export const KVM_CAP_X86_APIC_BUS_CYCLES_NS = 237;
export const KVM_CAP_X86_GUEST_MODE = 238;
export const KVM_CAP_GUEST_MEMFD_FLAGS = 244;
