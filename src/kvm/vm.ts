/**
 * Vm: one virtual machine of KVM. It owns what belongs to the VM as a whole: the interrupt
 * controller, the routes of interrupts, doorbells. Its memory is set by `MemorySlots`, which
 * listens to the guest's address space.
 */

import { errnoNumber } from "../abi/errno.ts";
import {
  KVM_CHECK_EXTENSION,
  KVM_CREATE_VM,
  KVM_IRQ_LINE,
  KVM_SIGNAL_MSI,
  kvm_irq_level,
  kvm_msi,
} from "../abi/kvm.ts";
import { KVM_SET_IDENTITY_MAP_ADDR, KVM_SET_TSS_ADDR } from "../abi/kvm-x86.ts";
import { OwnedFd } from "../sys/fd.ts";
import { Owner } from "../sys/owner.ts";
import { check, ViaductError } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { assignIoeventfd, type IoeventfdRequest } from "./ioeventfd.ts";
import { IrqRoutes } from "./irq-routes.ts";
import { type CreatedIrqchip, createIrqchip, type IrqchipMode } from "./irqchip.ts";
import type { Kvm } from "./kvm.ts";
import { Vcpu } from "./vcpu.ts";

/**
 * Four pages below the firmware's top that Intel's KVM uses for real mode: the identity map, then
 * the TSS. RAM must not lie there; QEMU uses the same place.
 */
const IDENTITY_MAP_ADDRESS = 0xfeffc000n;
const TSS_ADDRESS = 0xfeffd000;

/** A message-signalled interrupt: the write a device would make. */
export interface Msi {
  readonly address: bigint;
  readonly data: number;
}

export class Vm implements Disposable {
  readonly kvm: Kvm;
  readonly sys: Syscalls;
  readonly #vm: OwnedFd;
  readonly #level = kvm_irq_level.bytes();
  readonly #levelView = kvm_irq_level.at(this.#level);
  readonly #msi = kvm_msi.bytes();
  readonly #msiView = kvm_msi.at(this.#msi);
  #irqchip: CreatedIrqchip | undefined;
  #routes: IrqRoutes | undefined;

  private constructor(kvm: Kvm, vm: OwnedFd) {
    this.kvm = kvm;
    this.sys = kvm.sys;
    this.#vm = vm;
  }

  /** @throws {ViaductError} KVM_FAILED */
  static create(kvm: Kvm): Vm {
    const { sys } = kvm;
    using owner = new Owner();
    try {
      const vm = owner.own(new OwnedFd(sys, check(createVm(kvm), "KVM_CREATE_VM")));
      const identity = new BigUint64Array([IDENTITY_MAP_ADDRESS]);
      check(sys.ioctl(vm.fd, KVM_SET_IDENTITY_MAP_ADDR, identity), "KVM_SET_IDENTITY_MAP_ADDR");
      check(sys.ioctl(vm.fd, KVM_SET_TSS_ADDR, TSS_ADDRESS), "KVM_SET_TSS_ADDR");
      owner.move();
      return new Vm(kvm, vm);
    } catch (error) {
      throw new ViaductError("KVM_FAILED", `KVM: Cannot create a VM: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  get fd(): number {
    return this.#vm.fd;
  }

  /** What this VM's KVM_CHECK_EXTENSION answers; 0 when `capability` is not there. */
  extension(capability: number): number {
    return check(this.sys.ioctl(this.fd, KVM_CHECK_EXTENSION, capability), "KVM_CHECK_EXTENSION");
  }

  /**
   * Creates the interrupt controllers in the kernel: `full` is PIC, I/O APIC, PIT and local APICs,
   * `split` the local APICs alone. A kernel without `full` gives `split`, and `note` says so. Before
   * the first vCPU.
   * @throws {ViaductError} KVM_FAILED
   */
  createIrqchip(mode: IrqchipMode): CreatedIrqchip {
    this.#irqchip = createIrqchip(this, mode);
    this.#routes = new IrqRoutes(this, this.#irqchip.mode);
    return this.#irqchip;
  }

  get irqchip(): CreatedIrqchip | undefined {
    return this.#irqchip;
  }

  /** Interrupt routes; there once `createIrqchip` was called. */
  get routes(): IrqRoutes {
    if (this.#routes === undefined) throw new RangeError("the VM has no interrupt controller");
    return this.#routes;
  }

  /** KVM_IRQ_LINE: sets an input of the full irqchip. @throws {SysError} ENXIO in split mode */
  setIrqLine(gsi: number, level: boolean): void {
    this.#levelView.irq = gsi;
    this.#levelView.level = level ? 1 : 0;
    check(this.sys.ioctl(this.fd, KVM_IRQ_LINE, this.#level), "KVM_IRQ_LINE");
  }

  /** KVM_SIGNAL_MSI: true when a CPU took it; false when the guest has it blocked. */
  signalMsi(message: Msi): boolean {
    this.#msiView.address_lo = Number(message.address & 0xffff_ffffn);
    this.#msiView.address_hi = Number(message.address >> 32n);
    this.#msiView.data = message.data;
    // EINVAL answers an address that is no interrupt's: the guest's mistake, as on a bus.
    return this.sys.ioctl(this.fd, KVM_SIGNAL_MSI, this.#msi) > 0;
  }

  /** A new vCPU; its local APIC's id is `id`. @throws {ViaductError} KVM_FAILED */
  createVcpu(id: number): Vcpu {
    return Vcpu.create(this, id);
  }

  /** Lets writes of the guest signal an eventfd without leaving the kernel. @throws {SysError} */
  assignIoeventfd(request: IoeventfdRequest): Disposable {
    return assignIoeventfd(this, request);
  }

  /** Closes the VM. vCPUs hold it open until they are disposed too. Idempotent. */
  [Symbol.dispose](): void {
    this.#vm[Symbol.dispose]();
  }
}

/** Creating a VM takes long enough for a signal to interrupt it; EINTR then means "again". */
function createVm({ sys, fd }: Kvm): number {
  const eintr = -errnoNumber("EINTR");
  let result = sys.ioctl(fd, KVM_CREATE_VM, 0);
  for (let retries = 0; result === eintr && retries < 100; retries++) {
    result = sys.ioctl(fd, KVM_CREATE_VM, 0);
  }
  return result;
}
