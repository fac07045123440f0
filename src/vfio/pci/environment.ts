/** What an assigned PCI function asks of the machine around it, beside its bus. */

import type { IoeventfdRequest } from "../../kvm/ioeventfd.ts";
import type { AccessGates } from "../../memory/access-gates.ts";
import type { AddressSpace } from "../../memory/address-space.ts";
import type { EventLoop } from "../../sys/event-loop.ts";
import type { VfioState } from "../state.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";

/** Time as the guest has it: stands still while the VM is stopped. */
export interface GuestClock {
  /** Calls `expired` once after `milliseconds`, unless disposed before. */
  after(milliseconds: number, expired: () => void): Disposable;
}

export interface VfioPciEnvironment {
  /** Groups, system calls, reports, the host's page size. */
  readonly vfio: VfioState;
  readonly loop: EventLoop;
  /** Where the device's DMA goes: the guest's memory. */
  readonly addressSpace: AddressSpace;
  readonly clock: GuestClock;
  /**
   * `KVM_IOEVENTFD`, until disposed; absent without KVM.
   * @throws {SysError} EEXIST, ENOSPC
   */
  readonly assignIoeventfd?: (request: IoeventfdRequest) => Disposable;
  /** Lets threads make trapped accesses of BARs by themselves; all come here when absent. */
  readonly accessGates?: AccessGates;
  /** The chipset the guest sees; other than i440fx when absent. */
  readonly machineFamily?: "i440fx" | "q35";
  /** Gives the guest's firmware a named file (fw_cfg); absent when it has no such firmware. */
  readonly addFirmwareFile?: (name: string, bytes: Uint8Array) => void;
  /** The device reported an error it cannot recover from: stop the VM (internal-error). */
  onUnrecoverableError(fn: VfioPciFunction): void;
  /** The host wants the device back: ask the guest to let go of it, as `device_del` does. */
  onRemovalRequest(fn: VfioPciFunction): void;
}

/** A clock that never stops: for programs without a VM. */
export const hostClock: GuestClock = {
  after(milliseconds, expired) {
    const timer = setTimeout(expired, milliseconds);
    timer.unref();
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};
