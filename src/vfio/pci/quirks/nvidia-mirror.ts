/**
 * The mirrors of config space in BAR 0 of NVIDIA graphics (spec/pci-quirks.md 4.3). Its driver
 * acknowledges each MSI by a write there, so writes that come again and again become ioeventfds.
 */

import { PCI_MSI_FLAGS, PCI_STD_HEADER_SIZEOF } from "../../../abi/pci-regs.ts";
import { layMirror } from "./config-window.ts";
import { type HotWrite, QuirkIoeventfd, type TrappedRegister } from "./ioeventfd.ts";
import { EXTENDED_MIRROR, MIRROR } from "./nvidia.ts";
import type { QuirkReset, QuirkSite } from "./quirk.ts";
import * as trace from "./trace.ts";

const MIRROR_SIZE = 256;
/** Equal writes, one after another, that make an ioeventfd worth its price. */
const HITS_FOR_IOEVENTFD = 10;
const IOEVENTFDS_MAX = 10;

export function nvidiaBar0Mirrors(site: QuirkSite): QuirkReset {
  const { fn } = site;
  const mirrors = [layOne(site, EXTENDED_MIRROR, fn.config.size)];
  if (fn.vga) mirrors.push(layOne(site, MIRROR, MIRROR_SIZE));
  trace.vfio_quirk_nvidia_bar0_probe.emit({ name: fn.name });
  return () => {
    for (const writes of mirrors) writes.reset();
  };
}

function layOne(site: QuirkSite, trapOffset: number, size: number): RepeatedWrites {
  const { fn, region, owner } = site;
  const trap = layMirror(site, { offset: trapOffset, size }, (offset, width, value) => {
    if (acknowledgesMsi(site, offset, width)) {
      region.write(trapOffset + offset, width, value);
      trace.vfio_quirk_nvidia_bar0_msi_ack.emit({ name: fn.name });
    }
    writes.note({ offset, size: width, value });
  });
  const writes = owner.own(new RepeatedWrites({ fn, region, trap, trapOffset }));
  return writes;
}

/** The ID and next pointer of the MSI capability: read-only as config space, so free to be used. */
function acknowledgesMsi({ fn }: QuirkSite, offset: number, size: number): boolean {
  const start = fn.interrupts.msi?.capability.offset;
  return start !== undefined && offset >= start && offset + size <= start + PCI_MSI_FLAGS;
}

/** Counts equal writes and makes ioeventfds of them. */
export class RepeatedWrites implements Disposable {
  readonly #register: TrappedRegister;
  readonly #ioeventfds: QuirkIoeventfd[] = [];
  #last: HotWrite | undefined;
  #hits = 0;
  #warned = false;

  constructor(register: TrappedRegister) {
    this.#register = register;
  }

  note(write: HotWrite): void {
    const { fn } = this.#register;
    if (fn.properties["x-no-kvm-ioeventfd"] || write.offset < PCI_STD_HEADER_SIZEOF) return;
    if (this.#warned) return;
    const last = this.#last;
    const again =
      last?.offset === write.offset && last.size === write.size && last.value === write.value;
    this.#last = write;
    this.#hits = again ? this.#hits + 1 : 1;
    if (this.#hits < HITS_FOR_IOEVENTFD) return;
    if (this.#ioeventfds.length < IOEVENTFDS_MAX) this.#accelerate(write);
    else this.#warnOnce();
  }

  /** What was made at run time does not outlive a reset of the device. */
  reset(): void {
    for (const ioeventfd of this.#ioeventfds.splice(0)) ioeventfd[Symbol.dispose]();
    this.#last = undefined;
    this.#hits = 0;
    this.#warned = false;
  }

  [Symbol.dispose](): void {
    this.reset();
  }

  #accelerate(write: HotWrite): void {
    // A write that KVM let through has its eventfd already: another is refused.
    if (this.#ioeventfds.some((made) => made.handles(write))) return;
    const made = QuirkIoeventfd.create(this.#register, write);
    if (made) this.#ioeventfds.push(made);
  }

  #warnOnce(): void {
    this.#warned = true;
    const { fn, trap } = this.#register;
    fn.report(`${fn.name}: ${trap.name}: no more than ${IOEVENTFDS_MAX} writes are accelerated`);
  }
}
