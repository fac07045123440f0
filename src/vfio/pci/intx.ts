/**
 * INTx of an assigned function (spec/pci.md section 9). The physical line is level-triggered and
 * shared; the kernel masks it whenever it signals, and someone must unmask it once the guest has
 * served the device.
 *
 * Fast: KVM takes the trigger eventfd as an irqfd, and the guest's EOI signals a resamplefd (KVM
 * does, or with a split irqchip the emulated I/O APIC), which VFIO takes as its unmask eventfd.
 * Slow: this process asserts the pin and traps the BARs; any BAR access then counts as service
 * (`eoi`), and a timer gives the BARs back once it is quiet.
 */

import { errnoName } from "../../abi/errno.ts";
import { PCI_INTERRUPT_PIN } from "../../abi/pci-regs.ts";
import { VFIO_PCI_INTX_IRQ_INDEX } from "../../abi/vfio.ts";
import type { IntxRoute } from "../../pci/platform.ts";
import { textOfErrno } from "../../sys/errno-text.ts";
import { EventFd } from "../../sys/event-fd.ts";
import { Owner } from "../../sys/owner.ts";
import { ViaductError } from "../../sys/sys-error.ts";
import { attempt } from "./interrupts.ts";
import * as trace from "./trace.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";

const NO_ROUTE: IntxRoute = { mode: "disabled", gsi: -1 };

export class Intx {
  readonly #fn: VfioPciFunction;
  #pin = 0;
  #pending = false;
  #route: IntxRoute = NO_ROUTE;
  #trigger: EventFd | undefined;
  #watch: Disposable | undefined;
  #timer: Disposable | undefined;
  /** Present while KVM delivers the interrupt. */
  #unmask: EventFd | undefined;
  #boundGsi = -1;

  constructor(fn: VfioPciFunction) {
    this.#fn = fn;
  }

  get pending(): boolean {
    return this.#pending;
  }

  get accelerated(): boolean {
    return this.#unmask !== undefined;
  }

  /**
   * Turns INTx on, when the device has a pin.
   * @throws {ViaductError} IRQ_FAILED; INTx is then off
   */
  enable(): void {
    const fn = this.#fn;
    const pin = fn.guestRead(PCI_INTERRUPT_PIN, 1);
    if (pin === 0) return;
    if (pin < 0) {
      const why = textOfErrno(errnoName(-pin));
      throw new ViaductError("IRQ_FAILED", `failed to read the interrupt pin: ${why}`);
    }
    if (pin > 4) {
      throw new ViaductError("IRQ_FAILED", `invalid INTx pin ${pin}`);
    }
    fn.interrupts.disable();
    this.#pin = pin - 1;
    fn.config.write(PCI_INTERRUPT_PIN, 1, pin);
    this.#route = this.#canAccelerate ? fn.intxRoute() : NO_ROUTE;
    try {
      using owner = new Owner();
      const trigger = owner.own(EventFd.create(fn.sys));
      const watch = owner.own(fn.env.loop.watch(trigger.fd, () => this.#interrupt()));
      fn.device.setIrqEventfds(VFIO_PCI_INTX_IRQ_INDEX, "trigger", 0, [trigger.fd]);
      owner.move();
      this.#trigger = trigger;
      this.#watch = watch;
    } catch (cause) {
      const text = cause instanceof Error ? `: ${cause.message}` : "";
      throw new ViaductError("IRQ_FAILED", `failed to set up INTx${text}`, { cause });
    }
    this.#tryAccelerate();
    fn.interrupts.mode = "intx";
    trace.vfio_intx_enable.emit({ name: fn.name });
  }

  /** Turns INTx off; BARs are reachable again. */
  disable(): void {
    const fn = this.#fn;
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    this.#decelerate();
    attempt(fn.guestReport, `${fn.name}: INTx`, () =>
      fn.device.setIrqNone(VFIO_PCI_INTX_IRQ_INDEX, "trigger", 0, 0),
    );
    this.#setPending(false);
    fn.setIntx(false);
    fn.assignedBars.setMmapsEnabled(true);
    this.#watch?.[Symbol.dispose]();
    this.#trigger?.[Symbol.dispose]();
    this.#watch = undefined;
    this.#trigger = undefined;
    fn.interrupts.mode = "none";
    trace.vfio_intx_disable.emit({ name: fn.name });
  }

  /** A trapped BAR access: the guest is serving the device. */
  eoi(): void {
    if (!this.#pending) return;
    const fn = this.#fn;
    trace.vfio_intx_eoi.emit({ name: fn.name });
    this.#setPending(false);
    fn.setIntx(false);
    this.#setMasked(false);
  }

  /** The guest moved interrupt lines, or the irqchip changed (9.9, 9.10). */
  update(): void {
    const fn = this.#fn;
    if (fn.interrupts.mode !== "intx") return;
    const route = this.#canAccelerate ? fn.intxRoute() : NO_ROUTE;
    if (route.mode === this.#route.mode && route.gsi === this.#route.gsi) return;
    // From the first to the second, as in QEMU, whatever their names say.
    trace.vfio_intx_update.emit({
      name: fn.name,
      new_irq: this.#route.gsi,
      target_irq: route.gsi,
    });
    this.#decelerate();
    this.#route = route;
    if (route.mode !== "enabled") return;
    this.#tryAccelerate();
    // An EOI may have come while nobody watched.
    this.eoi();
  }

  /**
   * A state was loaded in which the pin is up: it is served as an interrupt that has just come.
   * Where KVM delivers the interrupt, the device raises it again by itself.
   */
  resume(level: boolean): void {
    const isSlow = this.#fn.interrupts.mode === "intx" && !this.accelerated;
    if (level && isSlow) this.#assert();
    else this.#fn.setIntx(false);
  }

  get #canAccelerate(): boolean {
    const { platform } = this.#fn.bus.root;
    return platform.msiRoutes !== undefined && platform.hasResampleFd;
  }

  #interrupt(): void {
    if (!this.#trigger?.drain()) return;
    const fn = this.#fn;
    trace.vfio_intx_interrupt.emit({ name: fn.name, line: "ABCD"[this.#pin]! });
    this.#assert();
  }

  /** Until the guest serves the device, which a trapped BAR tells. */
  #assert(): void {
    const fn = this.#fn;
    this.#setPending(true);
    fn.setIntx(true);
    fn.assignedBars.setMmapsEnabled(false);
    this.#armTimer();
  }

  /** Pending: the next access to a BAR is an end of interrupt, so it must come to this thread. */
  #setPending(pending: boolean): void {
    this.#pending = pending;
    const gate = this.#fn.accessGate;
    if (gate) gate.closed = pending;
  }

  #armTimer(): void {
    const timeoutMs = this.#fn.properties["x-intx-mmap-timeout-ms"];
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    if (timeoutMs === 0) return;
    this.#timer = this.#fn.env.clock.after(timeoutMs, () => {
      this.#timer = undefined;
      if (this.#pending) this.#armTimer();
      else this.#fn.assignedBars.setMmapsEnabled(true);
    });
  }

  #setMasked(masked: boolean): void {
    const fn = this.#fn;
    attempt(fn.guestReport, `${fn.name}: INTx`, () =>
      fn.device.setIrqNone(VFIO_PCI_INTX_IRQ_INDEX, masked ? "mask" : "unmask", 0, 1),
    );
  }

  /** Hands the interrupt to KVM where that is possible; a refusal only warns (9.6). */
  #tryAccelerate(): void {
    const fn = this.#fn;
    const { msiRoutes } = fn.bus.root.platform;
    if (fn.properties["x-no-kvm-intx"] || !this.#canAccelerate || !msiRoutes) return;
    if (this.#route.mode !== "enabled") return;
    const trigger = this.#trigger!;
    this.#watch?.[Symbol.dispose]();
    this.#watch = undefined;
    this.#setMasked(true);
    this.#setPending(false);
    fn.setIntx(false);
    const { gsi } = this.#route;
    const accelerated = attempt(fn.guestReport, `${fn.name}: failed to set up KVM INTx`, () => {
      using owner = new Owner();
      const unmask = owner.own(EventFd.create(fn.sys));
      msiRoutes.assignIrqfd(gsi, trigger.fd, unmask.fd);
      owner.defer(() => msiRoutes.deassignIrqfd(gsi, trigger.fd));
      fn.device.setIrqEventfds(VFIO_PCI_INTX_IRQ_INDEX, "unmask", 0, [unmask.fd]);
      owner.move();
      this.#unmask = unmask;
      this.#boundGsi = gsi;
    });
    if (!accelerated) this.#watchTrigger();
    this.#setMasked(false);
    if (accelerated) trace.vfio_intx_enable_kvm.emit({ name: fn.name });
  }

  /** Takes the interrupt back from KVM (9.8). */
  #decelerate(): void {
    const unmask = this.#unmask;
    if (!unmask) return;
    const fn = this.#fn;
    this.#setMasked(true);
    this.#setPending(false);
    fn.setIntx(false);
    attempt(fn.guestReport, `${fn.name}: failed to disable KVM INTx`, () =>
      fn.bus.root.platform.msiRoutes?.deassignIrqfd(this.#boundGsi, this.#trigger!.fd),
    );
    // Closing it is enough for VFIO to drop it.
    unmask[Symbol.dispose]();
    this.#unmask = undefined;
    this.#watchTrigger();
    // An event that was lost on the way fires again, through this process.
    this.#setMasked(false);
    trace.vfio_intx_disable_kvm.emit({ name: fn.name });
  }

  #watchTrigger(): void {
    const fn = this.#fn;
    const trigger = this.#trigger!;
    attempt(fn.guestReport, `${fn.name}: INTx`, () => {
      this.#watch = fn.env.loop.watch(trigger.fd, () => this.#interrupt());
    });
  }
}
