/**
 * The board: RAM, the two address spaces, the chipset and the PCI root, before any device and any
 * CPU. memory-map.ts draws where things are.
 */

import type { Vm } from "../kvm/vm.ts";
import { AccessGates } from "../memory/access-gates.ts";
import { type AddressSpace, createAddressSpace } from "../memory/address-space.ts";
import { checkHostHas, GuestRam } from "../memory/guest-ram.ts";
import { type IoHandler, MemoryRegion } from "../memory/region.ts";
import { RootComplex } from "../pci/root-complex.ts";
import { CONFIG_PORTS } from "../pci/shared-config.ts";
import { EventFd } from "../sys/event-fd.ts";
import { Owner } from "../sys/owner.ts";
import type { ViaductError } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { ACPI_PM_PORTS, AcpiPm } from "./acpi-pm.ts";
import { type FastPathState, serialFor } from "./fast-path.ts";
import { KvmPlatform } from "./kvm-platform.ts";
import {
  ACPI_PM_PORT,
  COM1_IRQ,
  COM1_PORT,
  ECAM_SIZE,
  ECAM_START,
  HIGH_RAM_START,
  IOAPIC_START,
  type RamLayout,
  RESET_PORT,
  RTC_IRQ,
  RTC_PORT,
  ramLayout,
  SCI_IRQ,
} from "./memory-map.ts";
import { followPorts } from "./port-kinds.ts";
import { FastReset, KeyboardReset, ResetControl } from "./reset-ports.ts";
import { RtcCmos } from "./rtc-cmos.ts";
import { Serial16550 } from "./serial-16550.ts";
import { IOAPIC_SIZE } from "./split-ioapic.ts";
import { TrapFiles } from "./trap-files.ts";

export interface BoardSignals {
  powerOff(): void;
  reset(): void;
  /** The host refused what the guest cannot do without. */
  failed(error: ViaductError): void;
  /** The host refused where the guest put a BAR, which stays trapped; as often as guests like. */
  mapRefused(error: Error): void;
}

export interface BoardOptions {
  /** Bytes, a multiple of 2 MiB. */
  readonly ramSize: number;
  /** Whether COM1 is there. */
  readonly serial: boolean;
}

/** PCI lies below everything: RAM and the chipset hide a BAR that a guest puts on top of them. */
const PCI_PRIORITY = -1;

interface BoardParts {
  readonly ram: RamLayout;
  readonly lowRam: Uint8Array;
  readonly memory: AddressSpace;
  readonly io: AddressSpace;
  readonly platform: KvmPlatform;
  readonly root: RootComplex;
  readonly acpiPm: AcpiPm;
  readonly serial: Serial16550;
  readonly serialAttention: EventFd;
  readonly accessGates: AccessGates;
  readonly fastPath: FastPathState;
}

export class Board implements Disposable {
  readonly ram: RamLayout;
  /** The guest's RAM from address 0 to the end of the low piece. */
  readonly lowRam: Uint8Array;
  readonly memory: AddressSpace;
  readonly io: AddressSpace;
  readonly platform: KvmPlatform;
  readonly root: RootComplex;
  readonly acpiPm: AcpiPm;
  /** COM1 as the main thread has it. */
  readonly serial: Serial16550;
  /** Signalled when the serial port wants the main thread. */
  readonly serialAttention: EventFd;
  /** For devices whose trapped accesses the vCPUs' threads may make. */
  readonly accessGates: AccessGates;
  /** For the vCPUs' threads. */
  readonly fastPath: FastPathState;
  readonly #owner: Owner;

  private constructor(parts: BoardParts, owner: Owner) {
    this.ram = parts.ram;
    this.lowRam = parts.lowRam;
    this.memory = parts.memory;
    this.io = parts.io;
    this.platform = parts.platform;
    this.root = parts.root;
    this.acpiPm = parts.acpiPm;
    this.serial = parts.serial;
    this.serialAttention = parts.serialAttention;
    this.accessGates = parts.accessGates;
    this.fastPath = parts.fastPath;
    this.#owner = owner;
  }

  /**
   * @param vm has its irqchip; borrowed
   * @throws {ViaductError} OUT_OF_MEMORY; {SysError}
   */
  static create(vm: Vm, options: BoardOptions, signals: BoardSignals): Board {
    using owner = new Owner();
    const ram = ramLayout(options.ramSize);
    const memoryRoot = new MemoryRegion("memory", "container", 1n << 64n);
    const ioRoot = new MemoryRegion("io", "container", 0x1_0000n);
    const lowRam = placeRam(owner, vm.sys, memoryRoot, ram);
    const memory = owner.own(createAddressSpace("memory", memoryRoot));
    const io = owner.own(createAddressSpace("io", ioRoot));
    const platform = new KvmPlatform(vm, (error) => signals.failed(error));
    const root = owner.own(placeRoot({ memoryRoot, ioRoot, memory, io, platform, signals }));
    const acpiPm = new AcpiPm({
      setSci: (level) => platform.setIrqLine(SCI_IRQ, level),
      powerOff: () => signals.powerOff(),
    });
    const { serial, serialAttention, state } = createSerial(owner, vm);
    const rtc = owner.own(new RtcCmos((level) => platform.setIrqLine(RTC_IRQ, level)));
    io.transaction(() => {
      place(ioRoot, "acpi-pm", ACPI_PM_PORT, ACPI_PM_PORTS, acpiPm);
      place(ioRoot, "rtc", RTC_PORT, 2, rtc);
      place(ioRoot, "reset", RESET_PORT, 1, new ResetControl(signals.reset), 1);
      place(ioRoot, "i8042", 0x64, 1, new KeyboardReset(signals.reset));
      place(ioRoot, "port92", 0x92, 1, new FastReset(signals.reset));
      if (options.serial) place(ioRoot, "serial", COM1_PORT, 8, serialPorts(serial));
    });
    const { kinds, listener } = followPorts(io);
    owner.own(listener);
    const accessGates = new AccessGates();
    const fastPath = {
      ...state,
      portKinds: kinds,
      config: root.sharedConfig.buffer,
      gates: accessGates.buffer,
      memoryFiles: owner.own(new TrapFiles(memory)).buffer,
      ioFiles: owner.own(new TrapFiles(io)).buffer,
    };
    const parts = { ram, lowRam, memory, io, platform, root, acpiPm, serial, serialAttention };
    return new Board({ ...parts, accessGates, fastPath }, owner.move());
  }

  /** What a PC's reset line does; the CPUs are the machine's. */
  reset(): void {
    this.root.reset();
    this.acpiPm.reset();
    this.serial.reset();
    this.platform.ioapic?.reset();
  }

  [Symbol.dispose](): void {
    this.#owner[Symbol.dispose]();
  }
}

function place(
  parent: MemoryRegion,
  name: string,
  address: number,
  size: number,
  handler: IoHandler,
  priority = 0,
): void {
  const region = new MemoryRegion(name, "io", BigInt(size), { handler });
  parent.add(region, BigInt(address), priority);
}

/** @returns the low piece's bytes */
function placeRam(owner: Owner, sys: Syscalls, parent: MemoryRegion, ram: RamLayout): Uint8Array {
  checkHostHas({ name: "pc.ram", size: ram.lowSize + ram.highSize });
  const create = (name: string, size: number) =>
    owner.own(GuestRam.create(sys, { name, size, backing: "anonymous" }));
  const low = create("pc.ram", ram.lowSize);
  parent.add(low.region(), 0n);
  if (ram.highSize > 0) {
    const high = create("pc.ram.high", ram.highSize);
    parent.add(high.region(), BigInt(HIGH_RAM_START));
  }
  return low.bytes(0, ram.lowSize);
}

function placeRoot(where: {
  memoryRoot: MemoryRegion;
  ioRoot: MemoryRegion;
  memory: AddressSpace;
  io: AddressSpace;
  platform: KvmPlatform;
  signals: BoardSignals;
}): RootComplex {
  const { memoryRoot, ioRoot, memory, io, platform, signals } = where;
  const root = new RootComplex({
    platform,
    transaction: (change) => memory.transaction(() => io.transaction(change)),
    mapFailed: (error) => signals.mapRefused(error),
  });
  memory.transaction(() => {
    memoryRoot.add(root.bus.memory, 0n, PCI_PRIORITY);
    place(memoryRoot, "ecam", ECAM_START, ECAM_SIZE, root.ecam);
    if (platform.ioapic !== undefined) {
      place(memoryRoot, "ioapic", IOAPIC_START, IOAPIC_SIZE, platform.ioapic);
    }
  });
  io.transaction(() => {
    ioRoot.add(root.bus.io, 0n, PCI_PRIORITY);
    place(ioRoot, "pci-config", CONFIG_PORTS, 8, root.configPorts);
  });
  return root;
}

function createSerial(owner: Owner, vm: Vm) {
  const irq = owner.own(EventFd.create(vm.sys));
  // KVM gives the irqfd up when the eventfd is closed.
  vm.routes.assignIrqfd(COM1_IRQ, irq.fd);
  const serialAttention = owner.own(EventFd.create(vm.sys));
  const state = {
    serial: Serial16550.createMemory(),
    serialIrqFd: irq.fd,
    serialAttentionFd: serialAttention.fd,
  };
  return { serial: serialFor(state, vm.sys), serialAttention, state };
}

/** The port for accesses that a vCPU's thread forwards: wider than a byte. */
function serialPorts(serial: Serial16550): IoHandler {
  return {
    read(offset, size) {
      let value = 0;
      for (let i = 0; i < size; i++) value += serial.read((offset + i) & 7) * 2 ** (8 * i);
      return value;
    },
    write(offset, size, value) {
      for (let i = 0; i < size; i++) serial.write((offset + i) & 7, (value >>> (8 * i)) & 0xff);
    },
  };
}
