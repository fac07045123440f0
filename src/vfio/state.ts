/**
 * VfioState: what one VMM process holds of VFIO: its groups, its address spaces with their
 * containers, the discard counters, KVM's pseudo-device (spec/container.md section 2). A machine
 * has one; so has a program that uses devices without a machine.
 *
 * Reading order of the life cycle: `open-device.ts`, `group.ts`, `container.ts`, `type1.ts`,
 * `dma-listener.ts`.
 */

import { HostTree } from "../host/tree.ts";
import type { AddressSpace } from "../memory/address-space.ts";
import type { ViaductError } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import type { Container } from "./container.ts";
import { RamDiscardPolicy } from "./discard-policy.ts";
import type { Group } from "./group.ts";
import { type Report, reportToStderr } from "./report.ts";
import { ResetCoordinator } from "./reset-coordinator.ts";

/** Who is told of the groups a VM uses: `KvmVfioDevice`. Neither call throws. */
export interface KvmGroups {
  addGroup(groupFd: number): void;
  removeGroup(groupFd: number): void;
}

export interface VfioStateOptions {
  readonly report?: Report;
  /** The running host's, unless told. */
  readonly tree?: HostTree;
  /** The host's page size, 4096 unless told. */
  readonly hostPage?: number;
  /** Absent without KVM. */
  readonly kvmDevice?: KvmGroups;
  /**
   * A mapping of RAM failed while the VM runs: the device would write elsewhere than the guest
   * thinks. Stops the VM; throws when not given.
   */
  readonly onFatal?: (error: ViaductError) => void;
  /** Calls `handler` at each machine reset, until disposed. */
  readonly onMachineReset?: (handler: () => void) => Disposable;
}

/** An address space of the guest that devices reach, and the containers that follow it. */
export interface AddressSpaceRecord {
  readonly addressSpace: AddressSpace;
  /** Newest first. */
  readonly containers: Container[];
}

export class VfioState {
  readonly sys: Syscalls;
  readonly report: Report;
  readonly tree: HostTree;
  readonly hostPage: number;
  readonly kvmDevice: KvmGroups | undefined;
  readonly onFatal: (error: ViaductError) => void;
  readonly discards = new RamDiscardPolicy();
  readonly resets = new ResetCoordinator();
  /** Newest first. */
  readonly groups: Group[] = [];
  /** Newest first. */
  readonly spaces: AddressSpaceRecord[] = [];
  readonly #onMachineReset: VfioStateOptions["onMachineReset"];
  #resetHandler: Disposable | undefined;

  constructor(sys: Syscalls, options: VfioStateOptions = {}) {
    this.sys = sys;
    this.report = options.report ?? reportToStderr;
    this.tree = options.tree ?? HostTree.live();
    this.hostPage = options.hostPage ?? 4096;
    this.kvmDevice = options.kvmDevice;
    this.#onMachineReset = options.onMachineReset;
    this.onFatal =
      options.onFatal ??
      ((error) => {
        throw error;
      });
  }

  /** The record of an address space, made when there is none. */
  record(addressSpace: AddressSpace): AddressSpaceRecord {
    let record = this.spaces.find((other) => other.addressSpace === addressSpace);
    if (!record) {
      record = { addressSpace, containers: [] };
      this.spaces.unshift(record);
    }
    return record;
  }

  dropIfEmpty(record: AddressSpaceRecord): void {
    if (record.containers.length === 0) remove(this.spaces, record);
  }

  /** The first group brings the machine-reset handler, the last takes it away. */
  addGroup(group: Group): void {
    if (this.groups.length === 0) {
      this.#resetHandler = this.#onMachineReset?.(() => this.resets.resetAll());
    }
    this.groups.unshift(group);
  }

  removeGroup(group: Group): void {
    remove(this.groups, group);
    if (this.groups.length > 0) return;
    this.#resetHandler?.[Symbol.dispose]();
    this.#resetHandler = undefined;
  }
}

/** Takes `item` out of `list`, when it is there. */
export function remove<T>(list: T[], item: T): void {
  const at = list.indexOf(item);
  if (at >= 0) list.splice(at, 1);
}
