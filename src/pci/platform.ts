/**
 * What a PCI function asks of the machine it sits in. `machine/` answers with KVM; the machine
 * without a CPU answers by recording. Nothing under pci/ or vfio/ knows which.
 */

/** One message-signalled interrupt: the write the device would make. */
export interface MsiMessage {
  readonly address: bigint;
  readonly data: number;
}

/** In-kernel interrupt bypass: an eventfd that becomes an interrupt without leaving the kernel. */
export interface MsiRoutes {
  /**
   * Reserves a GSI that delivers `message`; undefined when the table is full. Takes effect at the
   * next `commit()`, or at once outside a batch.
   */
  add(message: MsiMessage, requesterId: number): number | undefined;
  update(gsi: number, message: MsiMessage): void;
  release(gsi: number): void;
  /** Runs `change` and updates the kernel's table once at its end. */
  batch<T>(change: () => T): T;
  /**
   * KVM_IRQFD: from now on `fd` raises `gsi`; the guest's end of interrupt signals `resampleFd`.
   * @throws {SysError}
   */
  assignIrqfd(gsi: number, fd: number, resampleFd?: number): void;
  deassignIrqfd(gsi: number, fd: number): void;
}

/** Where an INTx pin ends: an irqchip input, or nowhere. */
export interface IntxRoute {
  readonly mode: "enabled" | "inverted" | "disabled";
  readonly gsi: number;
}

export interface PciPlatform {
  /** Present when the machine has an in-kernel irqchip that takes irqfds. */
  readonly msiRoutes: MsiRoutes | undefined;
  /** True when `assignIrqfd` takes a resamplefd. */
  readonly hasResampleFd: boolean;
  /** Delivers a message from user space (KVM_SIGNAL_MSI). */
  deliverMsi(message: MsiMessage, requesterId: number): void;
  /** Level-triggered line of the irqchip, already ORed over the functions that share it. */
  setIrqLine(gsi: number, level: boolean): void;
  /** Where root-bus pin `pin` (0 = INTA) of root-bus slot `slot` is routed. */
  intxRoute(slot: number, pin: number): IntxRoute;
  /** Calls `changed` when a guest re-routes interrupts. */
  onIntxRouteChange(changed: () => void): Disposable;
}
