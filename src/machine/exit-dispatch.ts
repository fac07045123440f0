/**
 * The main thread's answers to exits: an access goes to the I/O or the memory address space, the
 * rest to the machine. kvm/exit-handler.ts takes an exit apart into these accesses.
 */

import type { ExitHandler, PortSize, VcpuFailure } from "../kvm/exit-handler.ts";
import type { AddressSpace } from "../memory/address-space.ts";

export interface GuestEvents {
  ioapicEoi(vector: number): void;
  tripleFault(vcpu: number): void;
  systemEvent(type: number, vcpu: number): void;
  failed(failure: VcpuFailure): void;
}

export class ExitDispatch implements ExitHandler {
  readonly #memory: AddressSpace;
  readonly #io: AddressSpace;
  readonly #events: GuestEvents;

  constructor(memory: AddressSpace, io: AddressSpace, events: GuestEvents) {
    this.#memory = memory;
    this.#io = io;
    this.#events = events;
  }

  pioRead(port: number, size: PortSize): number {
    return Number(this.#io.read(BigInt(port), size));
  }

  pioWrite(port: number, size: PortSize, value: number): void {
    this.#io.write(BigInt(port), size, BigInt(value));
  }

  mmioRead(gpa: bigint, size: 1 | 2 | 4 | 8): bigint {
    return this.#memory.read(gpa, size);
  }

  mmioWrite(gpa: bigint, size: 1 | 2 | 4 | 8, value: bigint): void {
    this.#memory.write(gpa, size, value);
  }

  ioapicEoi(vector: number): void {
    this.#events.ioapicEoi(vector);
  }

  systemEvent(type: number, vcpu: number): void {
    this.#events.systemEvent(type, vcpu);
  }

  shutdown(vcpu: number): void {
    this.#events.tripleFault(vcpu);
  }

  halted(vcpu: number): void {
    // With the local APIC in the kernel, KVM keeps a halted vCPU to itself.
    this.#events.failed({ vcpu, what: "HLT left the kernel", data: [] });
  }

  internalError(failure: VcpuFailure): void {
    this.#events.failed(failure);
  }
}
