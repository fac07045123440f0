/**
 * A machine without a CPU for tests of vfio-pci: guest memory, a PCI root and a platform that
 * records, over the software host. The test is the guest's driver. `log` holds what reached the
 * device, KVM's routes and the eventfds, in order and in words.
 */

import assert from "node:assert/strict";
import { errnoNumber } from "../../../src/abi/errno.ts";
import {
  VFIO_DEVICE_PCI_HOT_RESET,
  VFIO_DEVICE_RESET,
  VFIO_DEVICE_SET_IRQS,
  VFIO_IRQ_SET_ACTION_MASK,
  VFIO_IRQ_SET_ACTION_UNMASK,
  VFIO_IRQ_SET_DATA_EVENTFD,
  vfio_irq_set,
} from "../../../src/abi/vfio.ts";
import { HostTree } from "../../../src/host/tree.ts";
import type { IoeventfdRequest } from "../../../src/kvm/ioeventfd.ts";
import { AccessGates } from "../../../src/memory/access-gates.ts";
import { type AddressSpace, createAddressSpace } from "../../../src/memory/address-space.ts";
import { MemoryRegion } from "../../../src/memory/region.ts";
import type { PciBus } from "../../../src/pci/bus.ts";
import { type RecordingMsiRoutes, RecordingPlatform } from "../../../src/pci/recording-platform.ts";
import { RootComplex } from "../../../src/pci/root-complex.ts";
import { SoftwareHost } from "../../../src/sim/host.ts";
import { Ledger } from "../../../src/sim/ledger.ts";
import type { SoftwarePciDevice } from "../../../src/sim/pci-device.ts";
import type { PciDeviceSpec } from "../../../src/sim/pci-spec.ts";
import { EventLoop } from "../../../src/sys/event-loop.ts";
import { nativeSyscalls } from "../../../src/sys/native.ts";
import { Owner } from "../../../src/sys/owner.ts";
import { SysError } from "../../../src/sys/sys-error.ts";
import type { Bytes, Syscalls } from "../../../src/sys/syscalls.ts";
import type { GuestClock, VfioPciEnvironment } from "../../../src/vfio/pci/environment.ts";
import { parseProperties } from "../../../src/vfio/pci/properties.ts";
import { VfioPciFunction } from "../../../src/vfio/pci/vfio-pci.ts";
import { VfioState } from "../../../src/vfio/state.ts";

export const BDF = "0000:01:00.0";
const CONFIG_REGION = 7;
const INDEX_NAMES = ["INTX", "MSI", "MSIX", "ERR", "REQ"];

/** Time that passes when the test says so. */
export class TestClock implements GuestClock {
  #timers = new Set<{ left: number; expired: () => void }>();

  get pending(): number {
    return this.#timers.size;
  }

  after(milliseconds: number, expired: () => void): Disposable {
    const timer = { left: milliseconds, expired };
    this.#timers.add(timer);
    return { [Symbol.dispose]: () => void this.#timers.delete(timer) };
  }

  pass(milliseconds: number): void {
    for (const timer of [...this.#timers]) {
      timer.left -= milliseconds;
      if (timer.left > 0) continue;
      this.#timers.delete(timer);
      timer.expired();
    }
  }
}

/** Puts every access to a device into words. */
function spy(inner: Syscalls, log: string[]): Syscalls {
  const where = (offset: number) => {
    const region = Math.floor(offset / 2 ** 40);
    const name = region === CONFIG_REGION ? "config" : `region ${region}`;
    return `${name} 0x${(offset % 2 ** 40).toString(16)}`;
  };
  const note = {
    pread: (_fd: number, into: Bytes, offset: number) => `read ${where(offset)}+${into.byteLength}`,
    pwrite: (_fd: number, from: Bytes, offset: number) => {
      const bytes = new Uint8Array(from.buffer, from.byteOffset, from.byteLength);
      const value = bytes.reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n);
      return `write ${where(offset)}+${from.byteLength}=0x${value.toString(16)}`;
    },
    ioctl: (_fd: number, request: number, arg: number | Bytes) => {
      if (request === VFIO_DEVICE_RESET) return "VFIO_DEVICE_RESET";
      if (request === VFIO_DEVICE_PCI_HOT_RESET) return "VFIO_DEVICE_PCI_HOT_RESET";
      return request === VFIO_DEVICE_SET_IRQS ? irqSet(arg as Uint8Array) : undefined;
    },
  };
  return new Proxy(inner, {
    get(target, key) {
      const method = Reflect.get(target, key, target) as (...args: unknown[]) => number;
      if (typeof method !== "function") return method;
      return (...args: unknown[]) => {
        const line = (note as Record<string, (...args: never[]) => string | undefined>)[
          key as string
        ]?.(...(args as never[]));
        if (line !== undefined) log.push(line);
        const result = method.apply(target, args);
        if (line !== undefined && (result < 0 || (line.startsWith("SET_IRQS") && result > 0))) {
          log.push(`  answered ${result}`);
        }
        return result;
      };
    },
  });
}

/** `SET_IRQS MSIX 0 TRIGGER [fd fd -1]`, or `... NONE 0`. Eventfds are not named by number. */
function irqSet(arg: Uint8Array): string {
  const { flags, index, start, count } = vfio_irq_set.at(arg);
  const action =
    (flags & VFIO_IRQ_SET_ACTION_MASK) !== 0
      ? "MASK"
      : (flags & VFIO_IRQ_SET_ACTION_UNMASK) !== 0
        ? "UNMASK"
        : "TRIGGER";
  const head = `SET_IRQS ${INDEX_NAMES[index]} ${start} ${action}`;
  if ((flags & VFIO_IRQ_SET_DATA_EVENTFD) === 0) return `${head} NONE ${count}`;
  const fds = new Int32Array(arg.slice(vfio_irq_set.size).buffer);
  return `${head} [${[...fds].map((fd) => (fd < 0 ? "-1" : "fd")).join(" ")}]`;
}

export interface MachineOptions {
  readonly devices?: ReadonlyArray<{ spec: PciDeviceSpec; group: number }>;
  readonly routes?: boolean;
  readonly hasResampleFd?: boolean;
  readonly hostPage?: number;
  readonly machineFamily?: "i440fx" | "q35";
}

export class TestMachine implements Disposable {
  readonly log: string[] = [];
  /** What was logged while the last function was created. */
  startLog: string[] = [];
  readonly reports: string[] = [];
  readonly events: string[] = [];
  readonly host: SoftwareHost;
  readonly ledger: Ledger;
  readonly sys: Syscalls;
  readonly loop: EventLoop;
  readonly state: VfioState;
  readonly platform: RecordingPlatform;
  readonly memory: AddressSpace;
  readonly io: AddressSpace;
  readonly root: RootComplex;
  readonly clock = new TestClock();
  readonly accessGates = new AccessGates();
  /** What KVM turns into eventfds. */
  readonly ioeventfds: IoeventfdRequest[] = [];
  /** KVM takes no more than these. */
  ioeventfdsMax = Number.POSITIVE_INFINITY;
  /** What the guest's firmware finds, by name. */
  readonly firmwareFiles = new Map<string, Uint8Array>();
  readonly #machineFamily: "i440fx" | "q35";
  readonly #owner = new Owner();

  constructor(options: MachineOptions = {}) {
    this.#machineFamily = options.machineFamily ?? "q35";
    this.host = this.#owner.own(new SoftwareHost(nativeSyscalls()));
    for (const { spec, group } of options.devices ?? []) this.host.addDevice(spec, group);
    this.ledger = new Ledger(this.host);
    this.sys = spy(this.ledger, this.log);
    this.loop = this.#owner.own(EventLoop.create(this.sys));
    this.state = new VfioState(this.sys, {
      tree: HostTree.mounted(this.host.roots),
      report: (line) => void this.reports.push(line),
      ...(options.hostPage !== undefined && { hostPage: options.hostPage }),
    });
    this.platform = new RecordingPlatform({
      ...(options.routes !== undefined && { routes: options.routes }),
      ...(options.hasResampleFd !== undefined && { hasResampleFd: options.hasResampleFd }),
    });
    if (this.platform.msiRoutes) logIrqfds(this.platform.msiRoutes, this.log);
    const system = new MemoryRegion("system", "container", 1n << 64n);
    const ports = new MemoryRegion("io", "container", 1n << 16n);
    this.memory = this.#owner.own(createAddressSpace("memory", system));
    this.io = this.#owner.own(createAddressSpace("I/O", ports));
    this.root = this.#owner.own(
      new RootComplex({
        platform: this.platform,
        memory: system,
        io: ports,
        transaction: (change) => this.memory.transaction(() => this.io.transaction(change)),
      }),
    );
  }

  get bus(): PciBus {
    return this.root.bus;
  }

  get routes(): RecordingMsiRoutes {
    return this.platform.msiRoutes!;
  }

  device(bdf = BDF): SoftwarePciDevice {
    const found = this.host.devices.find((device) => device.name === bdf);
    assert(found);
    return found;
  }

  /** What functions ask of this machine. */
  get env(): VfioPciEnvironment {
    return {
      vfio: this.state,
      loop: this.loop,
      addressSpace: this.memory,
      clock: this.clock,
      accessGates: this.accessGates,
      machineFamily: this.#machineFamily,
      addFirmwareFile: (name, bytes) => void this.firmwareFiles.set(name, bytes),
      assignIoeventfd: (request) => {
        if (this.ioeventfds.length >= this.ioeventfdsMax) {
          throw new SysError(errnoNumber("ENOSPC"), "KVM_IOEVENTFD");
        }
        this.ioeventfds.push(request);
        const remove = () => this.ioeventfds.splice(this.ioeventfds.indexOf(request), 1);
        return { [Symbol.dispose]: () => void remove() };
      },
      onUnrecoverableError: ({ name }) => void this.events.push(`error ${name}`),
      onRemovalRequest: ({ name }) => void this.events.push(`removal ${name}`),
    };
  }

  /** Creates and attaches a function; the log then starts anew. */
  assign(
    given: Readonly<Record<string, string>> = {},
    place: { bus?: PciBus; devfn?: number; hotplugged?: boolean } = {},
  ): VfioPciFunction {
    const fn = VfioPciFunction.create({
      properties: parseProperties({ host: BDF, ...given }),
      bus: place.bus ?? this.bus,
      devfn: place.devfn ?? 0x18,
      hotplugged: place.hotplugged ?? false,
      env: this.env,
    });
    fn.bus.attach(fn);
    this.startLog = this.take();
    return fn;
  }

  /** What was logged since the last call. */
  take(): string[] {
    return this.log.splice(0);
  }

  [Symbol.dispose](): void {
    this.#owner[Symbol.dispose]();
  }
}

function logIrqfds(routes: RecordingMsiRoutes, log: string[]): void {
  const assign = routes.assignIrqfd.bind(routes);
  const deassign = routes.deassignIrqfd.bind(routes);
  routes.assignIrqfd = (gsi, fd, resampleFd) => {
    log.push(`irqfd ${gsi}${resampleFd === undefined ? "" : " with resamplefd"}`);
    assign(gsi, fd, resampleFd);
  };
  routes.deassignIrqfd = (gsi, fd) => {
    log.push(`irqfd ${gsi} off`);
    deassign(gsi, fd);
  };
}

/** Writes a BAR and reads back what it can hold, as a guest sizes it. */
export function sizeBar(fn: VfioPciFunction, register: number): number {
  fn.writeConfig(register, 4, 0xffff_ffff);
  return fn.readConfig(register, 4);
}
