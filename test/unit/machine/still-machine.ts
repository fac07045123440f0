/**
 * A machine whose CPUs do not run: the board of `machine/` on the real /dev/kvm, with software
 * devices on it. The test is the guest: its accesses take the way of a vCPU's exits.
 */

import assert from "node:assert/strict";
import { HostTree } from "../../../src/host/tree.ts";
import { Kvm } from "../../../src/kvm/kvm.ts";
import { MemorySlots } from "../../../src/kvm/memory-slots.ts";
import type { Vm } from "../../../src/kvm/vm.ts";
import { Board } from "../../../src/machine/board.ts";
import type { DeviceOption } from "../../../src/machine/device-options.ts";
import { Devices } from "../../../src/machine/devices.ts";
import { ExitDispatch } from "../../../src/machine/exit-dispatch.ts";
import { FastPath } from "../../../src/machine/fast-path.ts";
import { VfioDevices } from "../../../src/machine/vfio-devices.ts";
import { SoftwareHost } from "../../../src/sim/host.ts";
import { Ledger } from "../../../src/sim/ledger.ts";
import type { PciDeviceSpec } from "../../../src/sim/pci-spec.ts";
import { nativeSyscalls } from "../../../src/sys/native.ts";
import { Owner } from "../../../src/sys/owner.ts";
import { VfioPciFunction } from "../../../src/vfio/pci/vfio-pci.ts";

export interface StillMachineOptions {
  readonly irqchip: "full" | "split";
  readonly ramSize: number;
  /** One group each. */
  readonly devices: ReadonlyArray<{ spec: PciDeviceSpec; properties?: Record<string, string> }>;
  readonly ports?: ReadonlyArray<Record<string, string>>;
}

const option = (driver: string, properties: Record<string, string>): DeviceOption => ({
  driver,
  properties: new Map(Object.entries(properties)),
});

export class StillMachine implements Disposable {
  readonly host: SoftwareHost;
  readonly ledger: Ledger;
  readonly board: Board;
  /** The main thread's answers. */
  readonly exits: ExitDispatch;
  /** What a vCPU's thread answers by itself. */
  readonly inThread: FastPath;
  readonly functions: VfioPciFunction[] = [];
  /** What the guest brought about: power off, resets, the end of the machine. */
  readonly events: string[] = [];
  readonly reports: string[] = [];
  /** BARs that KVM would not map where the guest put them. */
  readonly refusals: string[] = [];
  /** What is on the board; `make` makes more. */
  readonly devices: Devices;
  readonly vfio: VfioDevices;
  readonly slots: MemorySlots;
  readonly #owner = new Owner();
  readonly #resetHandlers = new Set<() => void>();

  constructor(options: StillMachineOptions) {
    this.host = this.#owner.own(new SoftwareHost(nativeSyscalls()));
    options.devices.forEach(({ spec }, at) => void this.host.addDevice(spec, at + 1));
    this.ledger = new Ledger(this.host);
    const vm = this.#createVm(options.irqchip);
    this.board = this.#owner.own(
      Board.create(
        vm,
        { ramSize: options.ramSize, serial: true },
        {
          powerOff: () => void this.events.push("power off"),
          reset: () => void this.events.push("reset"),
          failed: (error) => void this.events.push(error.message),
          mapRefused: (error) => void this.refusals.push(error.message),
        },
      ),
    );
    const { board } = this;
    this.exits = new ExitDispatch(board.memory, board.io, {
      ioapicEoi: (vector) => board.platform.ioapic?.endOfInterrupt(vector),
      tripleFault: () => assert.fail("no CPU runs"),
      systemEvent: () => assert.fail("no CPU runs"),
      failed: () => assert.fail("no CPU runs"),
    });
    this.inThread = new FastPath(board.fastPath, this.ledger, 0);
    this.slots = new MemorySlots(vm);
    this.#owner.own(board.memory.listen(this.slots));
    this.devices = new Devices(board.root);
    this.vfio = this.#createVfio(vm);
    this.#owner.own(this.devices);
    this.#addDevices(options);
  }

  /** As a vCPU's exit is answered: in its thread, or else forwarded to the main thread. */
  pioRead(port: number, size: 1 | 2 | 4): number {
    return this.inThread.pioRead(port, size) ?? this.exits.pioRead(port, size);
  }

  pioWrite(port: number, size: 1 | 2 | 4, value: number): void {
    if (!this.inThread.pioWrite(port, size, value)) this.exits.pioWrite(port, size, value);
  }

  /** What the machine does at a reset. */
  reset(): void {
    for (const handler of [...this.#resetHandlers]) handler();
    this.board.reset();
  }

  [Symbol.dispose](): void {
    this.#owner[Symbol.dispose]();
  }

  #createVm(irqchip: "full" | "split"): Vm {
    const vm = this.#owner.own(this.#owner.own(Kvm.open(this.ledger)).createVm());
    vm.createIrqchip(irqchip);
    return vm;
  }

  #createVfio(vm: Vm): VfioDevices {
    const { board } = this;
    return this.#owner.own(
      VfioDevices.create({
        vm,
        board,
        tree: HostTree.mounted(this.host.roots),
        inThread: true,
        report: (line) => void this.reports.push(line),
        fail: (error) => void this.events.push(error.message),
        requestRemoval: () => assert.fail("no host wants a device back"),
        onReset: (handler) => {
          this.#resetHandlers.add(handler);
          return { [Symbol.dispose]: () => void this.#resetHandlers.delete(handler) };
        },
      }),
    );
  }

  #addDevices({ devices, ports = [] }: StillMachineOptions): void {
    this.devices.addBridges(ports.map((properties) => option("pcie-root-port", properties)));
    this.devices.addFunctions(
      devices.map(({ spec, properties }) =>
        option("vfio-pci", { host: spec.address, ...properties }),
      ),
      (wanted, place) => {
        const fn = this.vfio.make(wanted, place);
        assert(fn instanceof VfioPciFunction);
        this.functions.push(fn);
        return fn;
      },
    );
  }
}
