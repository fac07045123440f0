/**
 * QuirkIoeventfd: one write of one value to a trapped register, carried out without an exit
 * (spec/pci-quirks.md section 5). KVM turns the guest's write into an eventfd; the VFIO kernel
 * driver, which has the other end, writes to the device. Where the kernel refuses that end, the
 * write is made here when the eventfd comes.
 */

import { VFIO_DEVICE_IOEVENTFD, vfio_device_ioeventfd } from "../../../abi/vfio.ts";
import { hex } from "../../../memory/address.ts";
import type { Section } from "../../../memory/address-space.ts";
import type { MemoryRegion } from "../../../memory/region.ts";
import { EventFd } from "../../../sys/event-fd.ts";
import { Owner } from "../../../sys/owner.ts";
import { errnoOf, SysError } from "../../../sys/sys-error.ts";
import type { VfioRegion } from "../../region.ts";
import type { VfioPciFunction } from "../vfio-pci.ts";
import * as trace from "./trace.ts";

export interface HotWrite {
  /** In the trap. */
  readonly offset: number;
  readonly size: 1 | 2 | 4;
  readonly value: number;
}

export interface TrappedRegister {
  readonly fn: VfioPciFunction;
  readonly region: VfioRegion;
  readonly trap: MemoryRegion;
  /** Where the trap begins in the BAR. */
  readonly trapOffset: number;
}

export class QuirkIoeventfd implements Disposable {
  readonly #register: TrappedRegister;
  readonly #write: HotWrite;
  readonly #eventFd: EventFd;
  readonly #owner = new Owner();
  /** KVM's end, where the trap is mapped now. */
  #assigned: Disposable | undefined;

  private constructor(register: TrappedRegister, write: HotWrite, eventFd: EventFd) {
    this.#register = register;
    this.#write = write;
    this.#eventFd = eventFd;
  }

  /**
   * Undefined when the machine, a property or the host does not have it: the write then stays
   * trapped.
   */
  static create(register: TrappedRegister, write: HotWrite): QuirkIoeventfd | undefined {
    const { fn } = register;
    if (fn.properties["x-no-kvm-ioeventfd"] || !fn.env.assignIoeventfd) return undefined;
    using owner = new Owner();
    try {
      const eventFd = owner.own(EventFd.create(fn.sys));
      const made = new QuirkIoeventfd(register, write, eventFd);
      made.#owner.own(owner.move());
      owner.own(made);
      const vfio = !fn.properties["x-no-vfio-ioeventfd"] && made.#toKernel();
      if (!vfio) made.#toHere();
      made.#followTrap();
      // Refused, and reported: nothing would ever signal the eventfd.
      if (!made.#assigned) return undefined;
      trace.vfio_ioeventfd_init.emit({ ...made.#traced, vfio });
      owner.move();
      return made;
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      fn.guestReport(
        `${fn.name}: Cannot accelerate a register with an ioeventfd: ${error.message}`,
      );
      return undefined;
    }
  }

  handles({ offset, size, value }: HotWrite): boolean {
    const mine = this.#write;
    return offset === mine.offset && size === mine.size && value === mine.value;
  }

  /** KVM's end first, so that no write is lost between the two. Idempotent. */
  [Symbol.dispose](): void {
    if (this.#eventFd.fd >= 0) trace.vfio_ioeventfd_exit.emit(this.#traced);
    this.#owner[Symbol.dispose]();
  }

  get #offsetInBar(): number {
    return this.#register.trapOffset + this.#write.offset;
  }

  get #traced() {
    const { size, value } = this.#write;
    return { name: this.#register.fn.name, addr: this.#offsetInBar, size, data: value };
  }

  /** The VFIO driver as the other end. @returns false when the host does not do that */
  #toKernel(): boolean {
    const { fn, region } = this.#register;
    const { device } = fn;
    const arg = vfio_device_ioeventfd.bytes({
      argsz: vfio_device_ioeventfd.size,
      // The width is its own flag: VFIO_DEVICE_IOEVENTFD_8 is 1, and so on.
      flags: this.#write.size,
      data: BigInt(this.#write.value),
      offset: BigInt(region.info.fdOffset + this.#offsetInBar),
      fd: this.#eventFd.fd,
    });
    if (device.ioctl(VFIO_DEVICE_IOEVENTFD, arg) < 0) return false;
    this.#owner.defer(() => {
      vfio_device_ioeventfd.at(arg).fd = -1;
      const result = device.ioctl(VFIO_DEVICE_IOEVENTFD, arg);
      if (result >= 0) return;
      const why = new SysError(-result, "VFIO_DEVICE_IOEVENTFD").message;
      fn.report(`${fn.name}: Cannot remove the ioeventfd at ${hex(this.#offsetInBar)}: ${why}`);
    });
    return true;
  }

  #toHere(): void {
    const { fn, region } = this.#register;
    const watch = fn.env.loop.watch(this.#eventFd.fd, () => {
      if (!this.#eventFd.drain()) return;
      region.write(this.#offsetInBar, this.#write.size, this.#write.value);
      trace.vfio_ioeventfd_handler.emit(this.#traced);
    });
    this.#owner.own(watch);
  }

  /** The guest may move the BAR: KVM's end is where the trap is mapped. */
  #followTrap(): void {
    const holds = ({ region, offsetInRegion, size }: Section) =>
      region === this.#register.trap &&
      BigInt(this.#write.offset) >= offsetInRegion &&
      BigInt(this.#write.offset) < offsetInRegion + size;
    const following = this.#register.fn.env.addressSpace.listen({
      priority: 0,
      remove: (section) => {
        if (holds(section)) this.#unassign();
      },
      add: (section) => {
        if (!holds(section)) return;
        this.#assign(section.address - section.offsetInRegion + BigInt(this.#write.offset));
      },
    });
    this.#owner.own(following);
  }

  #assign(address: bigint): void {
    const { env, guestReport, name } = this.#register.fn;
    const { size, value } = this.#write;
    const fd = this.#eventFd.fd;
    const request = { fd, address, size, space: "memory", datamatch: BigInt(value) } as const;
    try {
      this.#assigned = env.assignIoeventfd?.(request);
    } catch (error) {
      const why = errnoOf(error);
      if (why === undefined) throw error;
      guestReport(`${name}: KVM refuses an ioeventfd at ${hex(address)}: ${why}`);
    }
  }

  #unassign(): void {
    this.#assigned?.[Symbol.dispose]();
    this.#assigned = undefined;
  }
}
