/**
 * Who answers a vCPU's exits. `InThreadExits` runs in the vCPU's Worker, first, on shared memory;
 * what it leaves goes to the machine's `ExitHandler` in the main thread. Also here: the loops that
 * take an exit apart into accesses (string instructions, 8-byte and page-crossing MMIO).
 */

import {
  KVM_EXIT_HLT,
  KVM_EXIT_INTERNAL_ERROR,
  KVM_EXIT_IO,
  KVM_EXIT_IOAPIC_EOI,
  KVM_EXIT_MMIO,
  KVM_EXIT_SHUTDOWN,
  KVM_EXIT_SYSTEM_EVENT,
  KVM_INTERNAL_ERROR_DELIVERY_EV,
  KVM_INTERNAL_ERROR_EMULATION,
  KVM_INTERNAL_ERROR_SIMUL_EX,
  KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
} from "../abi/kvm-exit.ts";
import type { RunPage } from "./run-page.ts";

export type PortSize = 1 | 2 | 4;

/** Answers in the vCPU's thread; `undefined` and `false` leave the access to the main thread. */
export interface InThreadExits {
  pioRead(port: number, size: PortSize): number | undefined;
  pioWrite(port: number, size: PortSize, value: number): boolean;
  /** An 8-byte access arrives as two of 4, low half first. */
  mmioRead(gpa: number, size: PortSize): number | undefined;
  mmioWrite(gpa: number, size: PortSize, value: number): boolean;
}

/** What a vCPU died of: for the message, with the registers if the machine reads them. */
export interface VcpuFailure {
  readonly vcpu: number;
  readonly what: string;
  readonly data: readonly bigint[];
}

/** The machine, in the main thread. A guest's access is input: none of these throws. */
export interface ExitHandler {
  pioRead(port: number, size: PortSize): number;
  pioWrite(port: number, size: PortSize, value: number): void;
  mmioRead(gpa: bigint, size: 1 | 2 | 4 | 8): bigint;
  mmioWrite(gpa: bigint, size: 1 | 2 | 4 | 8, value: bigint): void;
  /** Split irqchip: the guest acknowledged a level-triggered vector of the I/O APIC. */
  ioapicEoi(vector: number): void;
  // The vCPU rests after these, until all are resumed or stopped.
  /** KVM_SYSTEM_EVENT_*. */
  systemEvent(type: number, vcpu: number): void;
  /** A triple fault: a PC resets. */
  shutdown(vcpu: number): void;
  /** HLT without an interrupt controller in the kernel. */
  halted(vcpu: number): void;
  internalError(failure: VcpuFailure): void;
}

/** What KVM could not do; api.rst of the kernel, "KVM_EXIT_INTERNAL_ERROR". */
const INTERNAL_ERRORS: Readonly<Record<number, string>> = {
  [KVM_INTERNAL_ERROR_EMULATION]: "an instruction that KVM cannot emulate",
  [KVM_INTERNAL_ERROR_SIMUL_EX]: "two exceptions at once while KVM emulated an instruction",
  [KVM_INTERNAL_ERROR_DELIVERY_EV]: "an access to no memory while an interrupt was delivered",
  [KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON]: "an exit of the processor that KVM does not know",
};

/** What `answerInThread` answers when nothing is left. */
export const ANSWERED = -1;

/** Answers what the thread can; else where the main thread must go on (unit, or byte of MMIO). */
export function answerInThread(run: RunPage, exits: InThreadExits): number {
  return run.exitReason === KVM_EXIT_IO ? portInThread(run, exits) : mmioInThread(run, exits);
}

function portInThread(run: RunPage, exits: InThreadExits): number {
  const port = run.ioPort;
  const size = run.ioSize;
  const count = run.ioCount;
  const isWrite = run.ioIsWrite;
  for (let unit = 0; unit < count; unit++) {
    const at = run.ioDataOffset(unit);
    if (isWrite) {
      if (!exits.pioWrite(port, size, run.load(at, size))) return unit;
    } else {
      const value = exits.pioRead(port, size);
      if (value === undefined) return unit;
      run.store(at, size, value);
    }
  }
  return ANSWERED;
}

function mmioInThread(run: RunPage, exits: InThreadExits): number {
  const address = run.mmioAddress;
  const length = run.mmioLength;
  const isWrite = run.mmioIsWrite;
  for (let byte = 0; byte < length; ) {
    const size = pieceSize(address, byte, length);
    const at = run.mmioDataOffset(byte);
    if (isWrite) {
      if (!exits.mmioWrite(address + byte, size, run.load(at, size))) return byte;
    } else {
      const value = exits.mmioRead(address + byte, size);
      if (value === undefined) return byte;
      run.store(at, size, value);
    }
    byte += size;
  }
  return ANSWERED;
}

/** 1, 2 or 4 bytes are one piece, 8 are two; what a page's end cut goes by alignment. */
function pieceSize(address: number, byte: number, length: number): PortSize {
  const left = length - byte;
  if (length === 8) return 4;
  if (length === 4 || length === 2 || length === 1) return length;
  if (left >= 4 && (address + byte) % 4 === 0) return 4;
  return left >= 2 && (address + byte) % 2 === 0 ? 2 : 1;
}

/** Answers the exit in `run` in the main thread, from where the vCPU's thread left it. */
export function answerExit(run: RunPage, vcpu: number, start: number, handler: ExitHandler): void {
  switch (run.exitReason) {
    case KVM_EXIT_IO:
      answerPort(run, start, handler);
      break;
    case KVM_EXIT_MMIO:
      answerMmio(run, start, handler);
      break;
    case KVM_EXIT_IOAPIC_EOI:
      handler.ioapicEoi(run.eoiVector);
      break;
    case KVM_EXIT_SYSTEM_EVENT:
      handler.systemEvent(run.systemEventType, vcpu);
      break;
    case KVM_EXIT_SHUTDOWN:
      handler.shutdown(vcpu);
      break;
    case KVM_EXIT_HLT:
      handler.halted(vcpu);
      break;
    case KVM_EXIT_INTERNAL_ERROR: {
      const { internalSuberror: suberror } = run;
      const meaning = INTERNAL_ERRORS[suberror] ?? "unknown";
      const what = `KVM internal error. Suberror: ${suberror} (${meaning})`;
      handler.internalError({ vcpu, what, data: run.internalData });
      break;
    }
    default: {
      const what = `KVM exit reason ${run.exitReason}, hardware reason ${run.hardwareReason}`;
      handler.internalError({ vcpu, what, data: [] });
    }
  }
}

function answerPort(run: RunPage, start: number, handler: ExitHandler): void {
  const port = run.ioPort;
  const size = run.ioSize;
  const count = run.ioCount;
  for (let unit = start; unit < count; unit++) {
    const at = run.ioDataOffset(unit);
    if (run.ioIsWrite) handler.pioWrite(port, size, run.load(at, size));
    else run.store(at, size, handler.pioRead(port, size));
  }
}

const LOW_32 = 0xffff_ffffn;

function answerMmio(run: RunPage, start: number, handler: ExitHandler): void {
  const address = run.mmioAddress;
  const length = run.mmioLength;
  if (length === 8 && start === 0) {
    answerMmio64(run, address, handler);
    return;
  }
  for (let byte = start; byte < length; ) {
    const size = pieceSize(address, byte, length);
    const at = run.mmioDataOffset(byte);
    const gpa = BigInt(address + byte);
    if (run.mmioIsWrite) handler.mmioWrite(gpa, size, BigInt(run.load(at, size)));
    else run.store(at, size, Number(handler.mmioRead(gpa, size)));
    byte += size;
  }
}

function answerMmio64(run: RunPage, address: number, handler: ExitHandler): void {
  const low = run.mmioDataOffset(0);
  const high = run.mmioDataOffset(4);
  if (run.mmioIsWrite) {
    const value = (BigInt(run.load(high, 4)) << 32n) | BigInt(run.load(low, 4));
    handler.mmioWrite(BigInt(address), 8, value);
  } else {
    const value = handler.mmioRead(BigInt(address), 8);
    run.store(low, 4, Number(value & LOW_32));
    run.store(high, 4, Number((value >> 32n) & LOW_32));
  }
}
