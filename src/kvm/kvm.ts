/**
 * Kvm: the open /dev/kvm, and what this host's KVM can do. Reading order of this folder: here,
 * `vm.ts` (memory slots, interrupts), `vcpu.ts` (a vCPU's state), `vcpu-threads.ts` (running them).
 */

import { O_RDWR } from "../abi/fcntl.ts";
import {
  KVM_API_VERSION,
  KVM_CAP_IMMEDIATE_EXIT,
  KVM_CAP_USER_MEMORY,
  KVM_CHECK_EXTENSION,
  KVM_GET_API_VERSION,
  KVM_GET_VCPU_MMAP_SIZE,
} from "../abi/kvm.ts";
import { KVM_GET_SUPPORTED_CPUID, kvm_cpuid_entry2, kvm_cpuid2 } from "../abi/kvm-x86.ts";
import { OwnedFd } from "../sys/fd.ts";
import { Owner } from "../sys/owner.ts";
import { check, errnoOf, SysError, ViaductError } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { Vm } from "./vm.ts";

const DEVICE = "/dev/kvm";

/** Without these nothing here works: every KVM since Linux 4.13 has them. */
const REQUIRED = { KVM_CAP_USER_MEMORY, KVM_CAP_IMMEDIATE_EXIT };

/** No KVM lists more; the kernel itself ends at 256 (KVM_MAX_CPUID_ENTRIES). */
const CPUID_ENTRIES_MAX = 256;

export class Kvm implements Disposable {
  readonly sys: Syscalls;
  /** Bytes of a vCPU's run page with what lies behind it (port data, coalesced writes). */
  readonly vcpuMmapSize: number;
  readonly #device: OwnedFd;
  readonly #owner: Owner;

  private constructor(sys: Syscalls, device: OwnedFd, vcpuMmapSize: number, owner: Owner) {
    this.sys = sys;
    this.vcpuMmapSize = vcpuMmapSize;
    this.#device = device;
    this.#owner = owner;
  }

  /**
   * Opens /dev/kvm and checks that it is the KVM this program knows.
   * @throws {ViaductError} KVM_MISSING, NO_PERMISSION, KVM_FAILED
   */
  static open(sys: Syscalls): Kvm {
    using owner = new Owner();
    const device = owner.own(openDevice(sys));
    try {
      const version = check(sys.ioctl(device.fd, KVM_GET_API_VERSION, 0), "KVM_GET_API_VERSION");
      if (version !== KVM_API_VERSION) {
        throw new ViaductError(
          "KVM_FAILED",
          `${DEVICE}: API version ${version}, not ${KVM_API_VERSION}`,
        );
      }
      const mmapSize = check(
        sys.ioctl(device.fd, KVM_GET_VCPU_MMAP_SIZE, 0),
        "KVM_GET_VCPU_MMAP_SIZE",
      );
      for (const [name, capability] of Object.entries(REQUIRED)) {
        if (check(sys.ioctl(device.fd, KVM_CHECK_EXTENSION, capability), name) > 0) continue;
        throw new ViaductError("KVM_FAILED", `${DEVICE}: ${name} is missing`, {
          nextStep: "Linux 4.13 or newer is needed.",
        });
      }
      return new Kvm(sys, device, mmapSize, owner.move());
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      throw new ViaductError("KVM_FAILED", `${DEVICE}: ${error.message}`, { cause: error });
    }
  }

  get fd(): number {
    return this.#device.fd;
  }

  /** KVM_CHECK_EXTENSION: 0 when `capability` is not there, else its value. */
  extension(capability: number): number {
    return check(this.sys.ioctl(this.fd, KVM_CHECK_EXTENSION, capability), "KVM_CHECK_EXTENSION");
  }

  /** The CPUID leaves KVM can give a guest on this host: `struct kvm_cpuid2`. */
  supportedCpuid(): Uint8Array {
    const size = CPUID_ENTRIES_MAX * kvm_cpuid_entry2.size;
    const table = kvm_cpuid2.bytes({ nent: CPUID_ENTRIES_MAX }, size);
    check(this.sys.ioctl(this.fd, KVM_GET_SUPPORTED_CPUID, table), "KVM_GET_SUPPORTED_CPUID");
    return table.slice(0, kvm_cpuid2.size + kvm_cpuid2.at(table).nent * kvm_cpuid_entry2.size);
  }

  /** A new VM, without memory, interrupt controller or vCPU. @throws {ViaductError} KVM_FAILED */
  createVm(): Vm {
    return Vm.create(this);
  }

  [Symbol.dispose](): void {
    this.#owner[Symbol.dispose]();
  }
}

function openDevice(sys: Syscalls): OwnedFd {
  try {
    return OwnedFd.open(sys, DEVICE, O_RDWR);
  } catch (error) {
    const reason = errnoOf(error);
    if (reason === "EACCES" || reason === "EPERM") {
      throw new ViaductError("NO_PERMISSION", `${DEVICE}: Permission denied`, {
        cause: error,
        nextStep: "Add yourself to the group kvm (sudo usermod -aG kvm $USER) and log in again.",
      });
    }
    throw new ViaductError("KVM_MISSING", `${DEVICE}: Could not access KVM: ${reason}`, {
      cause: error,
      nextStep:
        "Enable virtualisation in the firmware and load kvm_intel or kvm_amd (sudo modprobe " +
        "kvm_intel); inside a VM, enable nested virtualisation for it.",
    });
  }
}
