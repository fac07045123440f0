/**
 * What a machine is made of before its devices come: the VM, its chipset and memory, its vCPUs,
 * what it boots, and the ACPI tables that tell the guest about all that.
 */

import type { IrqchipMode } from "../kvm/irqchip.ts";
import { Kvm } from "../kvm/kvm.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { Vm } from "../kvm/vm.ts";
import { Owner } from "../sys/owner.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { acpiTables } from "./acpi/tables.ts";
import { Board, type BoardSignals } from "./board.ts";
import { BootFiles, type BootOptions } from "./boot-files.ts";
import { physicalAddressBits, prepareCpu } from "./cpu-setup.ts";
import { ACPI_TABLES_START, pciWindows } from "./memory-map.ts";

export interface PartsOptions extends BootOptions {
  /** Bytes, a multiple of 2 MiB. */
  readonly ramSize: number;
  readonly cpus: number;
  readonly irqchip: IrqchipMode;
  readonly hasSerial: boolean;
  readonly deviceCount: number;
  /** What a person should know and is no error. */
  readonly onNote?: ((note: string) => void) | undefined;
}

export class Parts implements Disposable {
  readonly sys: Syscalls;
  readonly vm: Vm;
  readonly board: Board;
  readonly boot: BootFiles;
  readonly vcpus: readonly Vcpu[];
  readonly acpi: Uint8Array;
  readonly #owner: Owner;

  private constructor(parts: Omit<Parts, typeof Symbol.dispose>, owner: Owner) {
    this.sys = parts.sys;
    this.vm = parts.vm;
    this.board = parts.board;
    this.boot = parts.boot;
    this.vcpus = parts.vcpus;
    this.acpi = parts.acpi;
    this.#owner = owner;
  }

  /** @throws {ViaductError}, {SysError} what the host refused; nothing is held then */
  static create(sys: Syscalls, options: PartsOptions, signals: BoardSignals): Parts {
    using owner = new Owner();
    const { ramSize, cpus, hasSerial } = options;
    const boot = owner.own(BootFiles.open(options));
    const kvm = owner.own(Kvm.open(sys));
    const vm = owner.own(kvm.createVm());
    const { note } = vm.createIrqchip(options.irqchip);
    if (note !== undefined) options.onNote?.(note);
    const board = owner.own(Board.create(vm, { ramSize, serial: hasSerial }, signals));
    const supported = kvm.supportedCpuid();
    const vcpus = Array.from({ length: cpus }, (_, id) => {
      const vcpu = owner.own(vm.createVcpu(id));
      prepareCpu(vm, vcpu, supported, cpus);
      return vcpu;
    });
    const acpi = acpiTables({
      address: ACPI_TABLES_START,
      apicIds: vcpus.map(({ id }) => id),
      windows: pciWindows(board.ram, physicalAddressBits(supported)),
      busCount: busCount(options.deviceCount),
      serial: hasSerial,
    }).bytes;
    return new Parts({ sys, vm, board, boot, vcpus, acpi }, owner.move());
  }

  [Symbol.dispose](): void {
    this.#owner[Symbol.dispose]();
  }
}

/**
 * Bus numbers to offer: a few for each device. Linux reads the vendor of 32 slots of every bus that
 * it is offered, two exits each: offering all 256 would cost 16,000 exits of a boot.
 */
function busCount(deviceCount: number): number {
  const BUSES_MIN = 16;
  const needed = 2 + 4 * deviceCount;
  return Math.min(256, Math.max(BUSES_MIN, 2 ** Math.ceil(Math.log2(needed))));
}
