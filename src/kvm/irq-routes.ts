/**
 * IrqRoutes: the VM's GSI table. GSIs 0 to 23 are the PC's lines (pins of the irqchip, or in split
 * mode the messages of the emulated I/O APIC's pins); from 24 on each is one MSI or MSI-X vector.
 * KVM takes the table as a whole and waits for readers of the old one (an SRCU grace period), so
 * changes are batched, and a released route goes with the next change.
 */

import {
  KVM_CAP_IRQ_ROUTING,
  KVM_IRQ_ROUTING_IRQCHIP,
  KVM_IRQ_ROUTING_MSI,
  KVM_IRQFD,
  KVM_IRQFD_FLAG_DEASSIGN,
  KVM_IRQFD_FLAG_RESAMPLE,
  KVM_SET_GSI_ROUTING,
  kvm_irq_routing,
  kvm_irq_routing_entry,
  kvm_irqfd,
} from "../abi/kvm.ts";
import {
  KVM_IOAPIC_NUM_PINS,
  KVM_IRQCHIP_IOAPIC,
  KVM_IRQCHIP_PIC_MASTER,
  KVM_IRQCHIP_PIC_SLAVE,
} from "../abi/kvm-x86.ts";
import { signalEventFd } from "../sys/event-fd.ts";
import { check } from "../sys/sys-error.ts";
import type { IrqchipMode } from "./irqchip.ts";
import type { Msi, Vm } from "./vm.ts";

const PIC_PINS = 8;
/** The timer's line: the PIC's pin 0 and, as the MADT tells the guest, the I/O APIC's pin 2. */
const TIMER_GSI = 0;
const TIMER_IOAPIC_PIN = 2;

/** An irqfd whose line somebody holds up until the guest acknowledges it. */
interface HeldLine {
  readonly gsi: number;
  readonly fd: number;
  readonly resampleFd: number;
}

export class IrqRoutes {
  readonly #vm: Vm;
  readonly #mode: IrqchipMode;
  readonly #gsiLimit: number;
  /** Encoded `struct kvm_irq_routing_entry`s of each GSI. */
  readonly #entries = new Map<number, Uint8Array[]>();
  /** The message of each GSI that has one. */
  readonly #messages = new Map<number, Msi>();
  readonly #freed: number[] = [];
  /** Split mode: what `endOfInterrupt` signals, where a full irqchip does. */
  #held: readonly HeldLine[] = [];
  #nextGsi = KVM_IOAPIC_NUM_PINS;
  #batchDepth = 0;
  #dirty = false;

  /** Takes over the VM's table: the lines of a full irqchip, empty for a split one. */
  constructor(vm: Vm, mode: IrqchipMode) {
    this.#vm = vm;
    this.#mode = mode;
    this.#gsiLimit = vm.extension(KVM_CAP_IRQ_ROUTING);
    if (mode === "full") for (const [gsi, entries] of pcLines()) this.#entries.set(gsi, entries);
    this.#change();
  }

  /**
   * Reserves a GSI that delivers `message`; undefined when the table is full. Takes effect at the
   * end of the batch, or at once outside one. (x86 routes by address; the requester id is the
   * interrupt remapping's matter and KVM does not want it.)
   */
  add(message: Msi, _requesterId = 0): number | undefined {
    const gsi = this.#freed.pop() ?? this.#nextGsi;
    if (gsi >= this.#gsiLimit) return undefined;
    if (gsi === this.#nextGsi) this.#nextGsi += 1;
    this.update(gsi, message);
    return gsi;
  }

  /** A guest that unmasks a vector mostly has the same message in it: that costs a comparison. */
  update(gsi: number, message: Msi): void {
    const before = this.#messages.get(gsi);
    if (before?.address === message.address && before.data === message.data) return;
    this.#messages.set(gsi, message);
    this.#entries.set(gsi, [msiEntry(gsi, message)]);
    this.#change();
  }

  /** Gives a GSI of `add` back; nothing must be assigned to it any more. */
  release(gsi: number): void {
    if (gsi < KVM_IOAPIC_NUM_PINS || !this.#forget(gsi)) return;
    this.#freed.push(gsi);
  }

  /**
   * Split mode: where pin `gsi` (0 to 23) of the emulated I/O APIC leads; undefined: nowhere (masked).
   * KVM learns from the message which vectors are level-triggered and must exit at EOI.
   */
  setPin(gsi: number, message: Msi | undefined): void {
    if (message !== undefined) this.update(gsi, message);
    else if (this.#forget(gsi)) this.#change();
  }

  /** Runs `change` and writes the table once, at its end. */
  batch<T>(change: () => T): T {
    this.#batchDepth += 1;
    try {
      return change();
    } finally {
      this.#batchDepth -= 1;
      if (this.#batchDepth === 0 && this.#dirty) this.#commit();
    }
  }

  /**
   * KVM_IRQFD: from now on a signal of `fd` raises `gsi`. With `resampleFd` the line is level: it
   * stays up until the guest acknowledges, which signals `resampleFd`. KVM does that for a full
   * irqchip; in split mode it takes no resamplefd, and `endOfInterrupt` does it.
   * @throws {SysError} EBUSY (fd in use)
   */
  assignIrqfd(gsi: number, fd: number, resampleFd?: number): void {
    const toKvm = this.#mode === "full" ? resampleFd : undefined;
    const flags = toKvm === undefined ? 0 : KVM_IRQFD_FLAG_RESAMPLE;
    const arg = kvm_irqfd.bytes({ fd, gsi, flags, resamplefd: toKvm ?? 0 });
    check(this.#vm.sys.ioctl(this.#vm.fd, KVM_IRQFD, arg), "KVM_IRQFD");
    if (resampleFd !== undefined && toKvm === undefined) {
      this.#held = [...this.#held, { gsi, fd, resampleFd }];
    }
  }

  deassignIrqfd(gsi: number, fd: number): void {
    this.#held = this.#held.filter((line) => line.gsi !== gsi || line.fd !== fd);
    const arg = kvm_irqfd.bytes({ fd, gsi, flags: KVM_IRQFD_FLAG_DEASSIGN });
    check(this.#vm.sys.ioctl(this.#vm.fd, KVM_IRQFD, arg), "KVM_IRQFD (deassign)");
  }

  /** Split mode: the emulated I/O APIC saw the guest acknowledge pin `gsi`. */
  endOfInterrupt(gsi: number): void {
    for (const line of this.#held) {
      if (line.gsi === gsi) signalEventFd(this.#vm.sys, line.resampleFd);
    }
  }

  #forget(gsi: number): boolean {
    this.#messages.delete(gsi);
    return this.#entries.delete(gsi);
  }

  #change(): void {
    this.#dirty = true;
    if (this.#batchDepth === 0) this.#commit();
  }

  #commit(): void {
    this.#dirty = false;
    const entries = [...this.#entries.values()].flat();
    const table = kvm_irq_routing.bytes(
      { nr: entries.length },
      entries.length * kvm_irq_routing_entry.size,
    );
    entries.forEach((entry, i) => {
      table.set(entry, kvm_irq_routing.size + i * kvm_irq_routing_entry.size);
    });
    check(this.#vm.sys.ioctl(this.#vm.fd, KVM_SET_GSI_ROUTING, table), "KVM_SET_GSI_ROUTING");
  }
}

/** The lines as a PC wires them: 0 to 15 to PIC and I/O APIC, 16 to 23 to the I/O APIC alone. */
function pcLines(): Map<number, Uint8Array[]> {
  const lines = new Map<number, Uint8Array[]>();
  for (let gsi = 0; gsi < KVM_IOAPIC_NUM_PINS; gsi++) {
    const entries: Uint8Array[] = [];
    if (gsi < PIC_PINS) entries.push(pinEntry(gsi, KVM_IRQCHIP_PIC_MASTER, gsi));
    else if (gsi < 2 * PIC_PINS) {
      entries.push(pinEntry(gsi, KVM_IRQCHIP_PIC_SLAVE, gsi - PIC_PINS));
    }
    // The PIC's pin 2 is the cascade: GSI 2 ends there, and the I/O APIC's pin 2 is the timer's.
    const pin = gsi === TIMER_GSI ? TIMER_IOAPIC_PIN : gsi;
    if (gsi !== TIMER_IOAPIC_PIN) entries.push(pinEntry(gsi, KVM_IRQCHIP_IOAPIC, pin));
    lines.set(gsi, entries);
  }
  return lines;
}

function pinEntry(gsi: number, irqchip: number, pin: number): Uint8Array {
  return kvm_irq_routing_entry.bytes({
    gsi,
    type: KVM_IRQ_ROUTING_IRQCHIP,
    u: { irqchip: { irqchip, pin } },
  });
}

function msiEntry(gsi: number, { address, data }: Msi): Uint8Array {
  return kvm_irq_routing_entry.bytes({
    gsi,
    type: KVM_IRQ_ROUTING_MSI,
    u: {
      msi: {
        address_lo: Number(address & 0xffff_ffffn),
        address_hi: Number(address >> 32n),
        data,
      },
    },
  });
}
