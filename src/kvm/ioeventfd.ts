/**
 * ioeventfd: a guest's write that signals an eventfd inside the kernel, so that a doorbell costs no
 * exit to us. The eventfd says that it was written, not what: `datamatch` tells values apart.
 */

import {
  KVM_IOEVENTFD,
  KVM_IOEVENTFD_FLAG_DATAMATCH,
  KVM_IOEVENTFD_FLAG_DEASSIGN,
  KVM_IOEVENTFD_FLAG_PIO,
  kvm_ioeventfd,
} from "../abi/kvm.ts";
import { check } from "../sys/sys-error.ts";
import type { Vm } from "./vm.ts";

export interface IoeventfdRequest {
  readonly fd: number;
  /** Guest-physical address, or port. */
  readonly address: bigint;
  /** Width of the write; 0 takes any (memory only, KVM_CAP_IOEVENTFD_ANY_LENGTH). */
  readonly size: 0 | 1 | 2 | 4 | 8;
  readonly space: "memory" | "port";
  /** Only a write of this value signals. */
  readonly datamatch?: bigint;
}

/** Assigns; disposing deassigns. @throws {SysError} EEXIST (taken), EINVAL, ENOSPC (too many) */
export function assignIoeventfd(vm: Vm, request: IoeventfdRequest): Disposable {
  const flags =
    (request.datamatch === undefined ? 0 : KVM_IOEVENTFD_FLAG_DATAMATCH) |
    (request.space === "port" ? KVM_IOEVENTFD_FLAG_PIO : 0);
  const arg = kvm_ioeventfd.bytes({
    fd: request.fd,
    addr: request.address,
    len: request.size,
    datamatch: request.datamatch ?? 0n,
    flags,
  });
  check(vm.sys.ioctl(vm.fd, KVM_IOEVENTFD, arg), "KVM_IOEVENTFD");
  let assigned = true;
  return {
    [Symbol.dispose]() {
      // A VM that is gone has taken its ioeventfds with it.
      if (!assigned || vm.fd < 0) return;
      assigned = false;
      kvm_ioeventfd.at(arg).flags = flags | KVM_IOEVENTFD_FLAG_DEASSIGN;
      check(vm.sys.ioctl(vm.fd, KVM_IOEVENTFD, arg), "KVM_IOEVENTFD (deassign)");
    },
  };
}
