/**
 * linux/kvm.h: `struct kvm_run`, the page a vCPU's thread shares with KVM, as x86 has it. The
 * kernel writes it only inside KVM_RUN; `immediate_exit` is the one byte that another thread sets.
 */

import { array, bytes, overlay, struct, u8, u16, u32, u64, union } from "../layout/struct.ts";
import { kvm_debug_exit_arch, kvm_sync_regs } from "./kvm-x86.ts";

export const SYNC_REGS_SIZE_BYTES = 2048;

/** What each exit reason leaves behind; all of them begin at byte 32 of the run page. */
const exits = {
  hw: struct("", 8, { hardware_exit_reason: u64 }),
  fail_entry: struct("", 16, { hardware_entry_failure_reason: u64, cpu: u32, _pad: u32 }),
  ex: struct("", 8, { exception: u32, error_code: u32 }),
  /** `count` units of `size` bytes lie at `data_offset` of the run page. */
  io: struct("", 16, { direction: u8, size: u8, port: u16, count: u32, data_offset: u64 }),
  debug: struct("", 32, { arch: kvm_debug_exit_arch }),
  mmio: struct("", 24, {
    phys_addr: u64,
    data: bytes(8),
    len: u32,
    is_write: u8,
    _pad: bytes(3),
  }),
  hypercall: struct("", 72, {
    nr: u64,
    args: array(u64, 6),
    ret: u64,
    _: overlay({ longmode: u32, flags: u64 }),
  }),
  tpr_access: struct("", 16, { rip: u64, is_write: u32, pad: u32 }),
  internal: struct("", 136, { suberror: u32, ndata: u32, data: array(u64, 16) }),
  /** `internal` read as KVM_INTERNAL_ERROR_EMULATION. */
  emulation_failure: struct("", 32, {
    suberror: u32,
    ndata: u32,
    flags: u64,
    insn_size: u8,
    insn_bytes: bytes(15),
  }),
  system_event: struct("", 136, {
    type: u32,
    ndata: u32,
    _: overlay({ flags: u64, data: array(u64, 16) }),
  }),
  eoi: struct("", 1, { vector: u8 }),
  msr: struct("", 24, { error: u8, pad: bytes(7), reason: u32, index: u32, data: u64 }),
  notify: struct("", 4, { flags: u32 }),
  memory_fault: struct("", 24, { flags: u64, gpa: u64, size: u64 }),
  padding: bytes(256),
};

export const kvm_run = struct("kvm_run", 2352, {
  request_interrupt_window: u8,
  immediate_exit: u8,
  padding1: bytes(6),
  exit_reason: u32,
  ready_for_interrupt_injection: u8,
  if_flag: u8,
  flags: u16,
  cr8: u64,
  apic_base: u64,
  _: overlay(exits),
  kvm_valid_regs: u64,
  kvm_dirty_regs: u64,
  s: union("", SYNC_REGS_SIZE_BYTES, { regs: kvm_sync_regs, padding: bytes(2048) }),
});
