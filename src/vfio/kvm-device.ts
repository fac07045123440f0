/**
 * KvmVfioDevice: KVM's VFIO pseudo-device (Documentation/virt/kvm/devices/vfio.rst): KVM learns
 * which groups the VM uses, for cache coherency and for drivers that need the VM when opened.
 * spec/container.md section 6.
 */

import {
  KVM_CREATE_DEVICE,
  KVM_DEV_TYPE_VFIO,
  KVM_DEV_VFIO_GROUP,
  KVM_DEV_VFIO_GROUP_ADD,
  KVM_DEV_VFIO_GROUP_DEL,
  KVM_SET_DEVICE_ATTR,
  kvm_create_device,
  kvm_device_attr,
} from "../abi/kvm.ts";
import { OwnedFd } from "../sys/fd.ts";
import { check } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { type Report, reportToStderr } from "./report.ts";
import type { KvmGroups } from "./state.ts";

export class KvmVfioDevice implements KvmGroups, Disposable {
  readonly #sys: Syscalls;
  readonly #vmFd: number;
  readonly #report: Report;
  #device: OwnedFd | undefined;
  readonly #groups = new Set<number>();

  /** @param vmFd borrowed; the pseudo-device itself is made at the first add */
  constructor(sys: Syscalls, vmFd: number, report: Report = reportToStderr) {
    this.#sys = sys;
    this.#vmFd = vmFd;
    this.#report = report;
  }

  /** Tells KVM of a group. A VM without it works, less well: a failure is reported, not thrown. */
  addGroup(groupFd: number): void {
    try {
      this.#device ??= this.#create();
      this.#setGroup(this.#device.fd, KVM_DEV_VFIO_GROUP_ADD, groupFd);
      this.#groups.add(groupFd);
    } catch (error) {
      this.#report(`Failed to add group fd ${groupFd} to KVM VFIO device: ${messageOf(error)}`);
    }
  }

  removeGroup(groupFd: number): void {
    if (this.#device === undefined || !this.#groups.delete(groupFd)) return;
    try {
      this.#setGroup(this.#device.fd, KVM_DEV_VFIO_GROUP_DEL, groupFd);
    } catch (error) {
      this.#report(
        `Failed to remove group fd ${groupFd} from KVM VFIO device: ${messageOf(error)}`,
      );
    }
  }

  /** Closes the pseudo-device: at the end of the VM, not when a device leaves. */
  [Symbol.dispose](): void {
    this.#device?.[Symbol.dispose]();
    this.#device = undefined;
  }

  #create(): OwnedFd {
    const arg = kvm_create_device.bytes({ type: KVM_DEV_TYPE_VFIO });
    check(this.#sys.ioctl(this.#vmFd, KVM_CREATE_DEVICE, arg), "KVM_CREATE_DEVICE VFIO");
    return new OwnedFd(this.#sys, kvm_create_device.at(arg).fd);
  }

  #setGroup(device: number, attr: number, groupFd: number): void {
    const fd = new Int32Array([groupFd]);
    const addr = BigInt(this.#sys.addressOf(fd));
    const arg = kvm_device_attr.bytes({ group: KVM_DEV_VFIO_GROUP, attr: BigInt(attr), addr });
    check(this.#sys.ioctl(device, KVM_SET_DEVICE_ATTR, arg), "KVM_SET_DEVICE_ATTR VFIO group");
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
