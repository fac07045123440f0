/**
 * VfioPciFunction: a PCI device of the host as a function of the guest (QEMU's hw/vfio/pci.c,
 * spec/pci.md). The data path is in the kernel: BARs are mappings of the device, interrupts are
 * irqfds; what comes here is configuration and what must be trapped.
 *
 * Read in this order: `properties.ts`, `realize.ts`, `config.ts`, `bars.ts`, `intx.ts`, `msix.ts`.
 */

import type { AccessGate } from "../../memory/access-gates.ts";
import type { PciBus } from "../../pci/bus.ts";
import { allOnes } from "../../pci/config-space.ts";
import { PciFunction, type PciFunctionOptions } from "../../pci/function.ts";
import { Owner } from "../../sys/owner.ts";
import { SysError, ViaductError } from "../../sys/sys-error.ts";
import type { Syscalls } from "../../sys/syscalls.ts";
import type { VfioDevice } from "../device.ts";
import { findHostNode } from "../host-node.ts";
import { attachKernelDevice } from "../open-device.ts";
import { type Report, rateLimited } from "../report.ts";
import type { ResetParticipant } from "../reset-coordinator.ts";
import { AssignedBars } from "./bars.ts";
import { guestRead, guestWrite } from "./config.ts";
import { DeviceConfig } from "./device-config.ts";
import type { VfioPciEnvironment } from "./environment.ts";
import { hotReset } from "./hot-reset.ts";
import type { EffectiveIds } from "./ids.ts";
import { Interrupts } from "./interrupts.ts";
import { Intx } from "./intx.ts";
import { type DeviceFacts, populate } from "./populate.ts";
import type { VfioPciProperties } from "./properties.ts";
import { realize } from "./realize.ts";
import { type ResetFacts, resetDevice } from "./reset.ts";
import * as trace from "./trace.ts";
import type { VectorHost } from "./vector.ts";
import type { LegacyVga } from "./vga.ts";

const CONVENTIONAL_CONFIG_SIZE = 256;

export interface VfioPciOptions {
  readonly properties: VfioPciProperties;
  /** The guest bus it will sit on; the shape of its capabilities depends on it. */
  readonly bus: PciBus;
  readonly devfn: number;
  readonly env: VfioPciEnvironment;
  /** It comes while the guest runs. */
  readonly hotplugged?: boolean;
  /** An attached device to use instead of the one that `host` or `sysfsdev` names; taken over. */
  readonly device?: VfioDevice;
}

export class VfioPciFunction extends PciFunction implements ResetParticipant {
  readonly env: VfioPciEnvironment;
  readonly device: VfioDevice;
  readonly properties: VfioPciProperties;
  readonly facts: DeviceFacts;
  readonly hotplugged: boolean;
  readonly deviceConfig: DeviceConfig;
  /** For what a guest can cause at will: at most one line a second. */
  readonly guestReport: Report;
  readonly assignedBars: AssignedBars;
  readonly interrupts: Interrupts;
  /** Closed while an access to a BAR is more than that (INTx pending). */
  readonly accessGate: AccessGate | undefined;
  readonly resets: ResetFacts = { hasFlr: false, hasPmReset: false, pmOffset: undefined };
  /** Known from step 10 of realize on. */
  ids: EffectiveIds = { vendor: 0, device: 0, isVga: false };
  /** Legacy VGA ranges, with `x-vga`. */
  vga: LegacyVga | undefined;
  /** The device's ROM is not to be read (again): it shows all ones. */
  romUnreadable = false;
  /** Takes AtomicOps bits off the port above, when they were put there for this device. */
  hideAtomicOps: (() => void) | undefined;
  /** Marked at a machine reset: what the function's own reset cannot do. */
  needsReset = false;
  /** A reset that only this kind of device has; true when it did it. */
  deviceSpecificReset: (() => boolean) | undefined;
  /** Takes back what quirks set up since the last reset. */
  resetQuirks: (() => void) | undefined;
  #owner = new Owner();

  private constructor(
    options: VfioPciOptions,
    device: VfioDevice,
    facts: DeviceFacts,
    gate: AccessGate | undefined,
    base: PciFunctionOptions,
  ) {
    super(base);
    this.env = options.env;
    this.properties = options.properties;
    this.device = device;
    this.facts = facts;
    this.hotplugged = options.hotplugged ?? false;
    this.guestReport = rateLimited(options.env.vfio.report);
    this.deviceConfig = new DeviceConfig(device, facts.config, this.report);
    this.assignedBars = new AssignedBars(this);
    this.accessGate = gate;
    this.interrupts = new Interrupts(new Intx(this));
  }

  /**
   * Attaches the host's device and makes it a function of the guest; `bus.attach(fn)` then shows it.
   * Disposing it (after the guest let go of it) gives everything back to the host.
   *
   * @throws {ViaductError} with `vfio <name>: ` in front; the host is then as it was
   */
  static create(options: VfioPciOptions): VfioPciFunction {
    using owner = new Owner();
    const device = owner.own(options.device ?? openDevice(options)); // Steps 1 to 6.
    try {
      const wantVga = options.properties["x-vga"];
      const facts = populate(device, { wantVga, report: options.env.vfio.report }); // Step 7.
      const { bus, devfn } = options;
      const gate = options.env.accessGates?.allocate();
      if (gate) owner.own(gate);
      const fn = new VfioPciFunction(options, device, facts, gate, {
        name: device.name,
        bus,
        devfn,
        multifunction: options.properties.multifunction,
        configSize: facts.config.size === CONVENTIONAL_CONFIG_SIZE ? 256 : 4096,
        // A vCPU's thread would answer reads without a trace.
        forwardReads: trace.vfio_pci_read_config.enabled,
      });
      fn.#owner.own(owner.move());
      owner.own(fn);
      fn.#realize();
      owner.move();
      return fn;
    } catch (error) {
      throw prefixed(device.name, error);
    }
  }

  get sys(): Syscalls {
    return this.env.vfio.sys;
  }

  get report(): Report {
    return this.env.vfio.report;
  }

  get hostPage(): number {
    return this.env.vfio.hostPage;
  }

  override readConfig(offset: number, length: number): number {
    const value = guestRead(this, offset, length);
    return value < 0 ? (value & allOnes(length)) >>> 0 : value;
  }

  override writeConfig(offset: number, length: number, value: number): void {
    guestWrite(this, offset, length, value);
  }

  /** `readConfig`, but a device that does not answer gives its errno negated. */
  guestRead(offset: number, length: number): number {
    return guestRead(this, offset, length);
  }

  override reset(): void {
    resetDevice(this);
    super.reset();
    this.vga?.update();
  }

  computeNeedsReset(): void {
    const { hasFlr, hasPmReset } = this.resets;
    this.needsReset = !this.facts.resetWorks || (hasPmReset && !hasFlr);
  }

  hotResetMulti(): void {
    hotReset(this, "multi");
  }

  /** @param slow delivers every interrupt through this process */
  vectorHost(slow: boolean): VectorHost {
    return {
      name: this.name,
      sys: this.sys,
      loop: this.env.loop,
      report: this.guestReport,
      routes: slow ? undefined : this.bus.root.platform.msiRoutes,
      requesterId: () => this.requesterId,
    };
  }

  /** Section 19: what realize did, backwards. Idempotent. */
  override [Symbol.dispose](): void {
    this.#owner[Symbol.dispose]();
  }

  #realize(): void {
    // Finalize order (19.3): off the bus, then the mappings, then the device and its group.
    this.#owner.own(this.assignedBars);
    this.#owner.defer(() => super[Symbol.dispose]());
    realize(this, this.#owner);
    if (this.device.fd >= 0) this.setConfigFile(this.device.fd, this.facts.config.fdOffset);
  }
}

function openDevice({ env, properties }: VfioPciOptions): VfioDevice {
  const { host, sysfsdev, fd, iommufd } = properties;
  if (fd !== undefined || iommufd !== undefined) {
    throw new ViaductError("PROPERTY", "vfio: fd and iommufd are not supported", {
      nextStep: "Name the device with host=DDDD:BB:DD.F or sysfsdev=PATH, without iommufd=.",
    });
  }
  const vfToken = properties["vf-token"];
  const address = {
    ...(host !== undefined && { host }),
    ...(sysfsdev !== undefined && { sysfsdev }),
  };
  const node = findHostNode(address, env.vfio.tree);
  trace.vfio_mdev.emit({ name: node.name, is_mdev: node.isMediated });
  trace.vfio_realize.emit({ name: node.name, group_id: node.groupNumber });
  return attachKernelDevice(env.vfio, env.addressSpace, node, {
    ...(vfToken !== undefined && { vfToken }),
    balloonAllowed: properties["x-balloon-allowed"],
  }).device;
}

/** Says which device it was. */
function prefixed(name: string, error: unknown): unknown {
  if (error instanceof SysError) {
    return new ViaductError("DEVICE_UNSUPPORTED", `vfio ${name}: ${error.message}`, {
      cause: error,
    });
  }
  if (!(error instanceof ViaductError)) return error;
  const { code, message, nextStep } = error;
  return new ViaductError(code, `vfio ${name}: ${message}`, {
    cause: error.cause,
    nextStep,
  });
}
