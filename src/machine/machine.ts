/**
 * Machine: a PC put together from its parts, its life from power-on to power-off, and what a reset
 * does. Reading order of this folder: `memory-map.ts`, `board.ts`, `parts.ts`, here.
 *
 *     prelaunch -> running <-> paused
 *                  running -> resetting -> running      the guest reboots
 *                  running -> shutdown                  the guest powered off, or we quit
 *                  running -> internal-error            it cannot go on
 *
 * Devices come and go meanwhile: hot-plug.ts. Whoever controls the machine is told: qmp/.
 */

import type { HostTree } from "../host/tree.ts";
import type { ExitCounters } from "../kvm/exit-counters.ts";
import type { VcpuFailure } from "../kvm/exit-handler.ts";
import { MemorySlots } from "../kvm/memory-slots.ts";
import { VcpuThreads } from "../kvm/vcpu-threads.ts";
import type { RootComplex } from "../pci/root-complex.ts";
import { EventLoop } from "../sys/event-loop.ts";
import { Owner } from "../sys/owner.ts";
import { refusal, SysError, ViaductError } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { rateLimited } from "../vfio/report.ts";
import { isBridge } from "./bridges.ts";
import { startBootCpu, VcpuPowerOn } from "./cpu-setup.ts";
import { type DeviceOption, deviceText } from "./device-options.ts";
import { Devices, type MakeFunction, type PlacedDevice } from "./devices.ts";
import { ExitDispatch } from "./exit-dispatch.ts";
import { HotPlug } from "./hot-plug.ts";
import { Life, type MachineEnd } from "./life.ts";
import { loadLinux } from "./linux-boot.ts";
import type { Cause, MachineEvent } from "./machine-events.ts";
import { Parts, type PartsOptions } from "./parts.ts";
import type { RunState } from "./run-state.ts";
import { SerialHost, type SerialSink } from "./serial-host.ts";
import type { VfioDevices } from "./vfio-devices.ts";

export interface MachineOptions extends Omit<PartsOptions, "hasSerial" | "deviceCount"> {
  readonly devices: readonly DeviceOption[];
  /** Where COM1's output goes; undefined: there is no COM1. */
  readonly serial: SerialSink | undefined;
  /** End instead of restarting when the guest reboots. */
  readonly noReboot: boolean;
  /** A machine that cannot go on stays as it is, stopped, until `quit`. */
  readonly stayOnError?: boolean;
  /** Told of every change of state, and of what else happens to the machine. */
  readonly onEvent?: (event: MachineEvent) => void;
  /** The host's files: the running host's, unless told. */
  readonly tree?: HostTree;
  /** Another module for the vCPUs' threads than `vcpu-entry.ts`: one that makes calls fail. */
  readonly vcpuEntry?: URL;
}

export class Machine {
  readonly #options: MachineOptions;
  readonly #parts: Parts;
  readonly #threads: VcpuThreads;
  readonly #devices: Devices;
  readonly #hotPlug: HotPlug;
  readonly #serialHost: SerialHost | undefined;
  readonly #powerOn: readonly VcpuPowerOn[];
  readonly #resetHandlers = new Set<() => void>();
  readonly #life: Life;
  readonly #owner = new Owner();
  /** Once a device asked for it. */
  #vfio: VfioDevices | undefined;
  #resetting: Promise<void> | undefined;

  private constructor(options: MachineOptions, parts: Parts) {
    const { sys, board, vcpus } = parts;
    this.#options = options;
    this.#parts = parts;
    this.#life = new Life({
      stayOnError: options.stayOnError ?? false,
      onEvent: (event) => options.onEvent?.(event),
      onStay: (error) => {
        options.onNote?.(`${error.message}; the guest is stopped`);
        void this.#threads.pause();
      },
    });
    this.#powerOn = vcpus.map((vcpu) => new VcpuPowerOn(sys, vcpu));
    this.#devices = new Devices(board.root);
    this.#hotPlug = new HotPlug(this.#devices, {
      deleted: (device) => this.#life.tell({ type: "device-deleted", device }),
      refused: (device) => this.#life.tell({ type: "device-kept", device }),
      note: (text) => options.onNote?.(text),
    });
    this.#serialHost = options.serial && new SerialHost(board.serial, options.serial);
    const events = {
      ioapicEoi: (vector: number) => board.platform.ioapic?.endOfInterrupt(vector),
      tripleFault: (vcpu: number) => this.#tripleFault(vcpu),
      systemEvent: () => this.#guestReset(),
      failed: (failure: VcpuFailure) => this.#vcpuFailed(failure),
    };
    this.#threads = VcpuThreads.create(sys, {
      vcpus,
      entry: options.vcpuEntry ?? new URL("./vcpu-entry.js", import.meta.url),
      shared: board.fastPath,
      handler: new ExitDispatch(board.memory, board.io, events),
      onCrash: (error) => this.#life.fail(error),
    });
  }

  /**
   * Puts the machine together: everything but running it.
   * @throws {ViaductError} what the host refused; nothing is held then
   */
  static async create(sys: Syscalls, options: MachineOptions): Promise<Machine> {
    try {
      return await Machine.#create(sys, options);
    } catch (error) {
      throw refusal("KVM_FAILED", "Cannot put the machine together", error);
    }
  }

  static async #create(sys: Syscalls, options: MachineOptions): Promise<Machine> {
    const { onNote } = options;
    const noteAtTimes = rateLimited((text) => onNote?.(text));
    const hasSerial = options.serial !== undefined;
    using owner = new Owner();
    const parts = owner.own(
      Parts.create(
        sys,
        { ...options, hasSerial, deviceCount: options.devices.length },
        {
          powerOff: () => machine.#life.end("guest-shutdown", "guest-shutdown"),
          reset: () => machine.#guestReset(),
          failed: (error) => machine.#life.fail(error),
          mapRefused: (error) => noteAtTimes(error.message),
        },
      ),
    );
    const machine = new Machine(options, parts);
    machine.#owner.own(owner.move());
    await machine.#connect();
    return machine;
  }

  /** Settles when the guest has ended; the machine is then to be closed. */
  get ended(): Promise<MachineEnd> {
    return this.#life.ended;
  }

  get state(): RunState {
    return this.#life.state;
  }

  get exitCounters(): ExitCounters {
    return this.#threads.counters;
  }

  /** Text for the guest's serial port. */
  type(bytes: Uint8Array): void {
    this.#serialHost?.type(bytes);
  }

  /**
   * Begins to run the guest.
   * @throws {ViaductError} kernel and initrd do not fit, or KVM refused the boot CPU's state
   */
  async start(): Promise<void> {
    try {
      // A device may come as its last user left it; messages about resets come before the guest.
      this.#resetHardware();
      this.#loadGuest();
    } catch (error) {
      throw refusal("KVM_FAILED", "Cannot start the guest", error);
    }
    await this.#threads.paused();
    if (this.#life.over) return;
    this.#life.enter("running");
    this.#threads.resume();
  }

  async pause(): Promise<void> {
    await this.#resetting;
    if (this.state !== "running") return;
    this.#life.enter("paused");
    await this.#threads.pause();
  }

  resume(): void {
    if (this.state !== "paused") return;
    this.#life.enter("running");
    this.#threads.resume();
  }

  pressPowerButton(): void {
    this.#life.tell({ type: "powerdown" });
    this.#parts.board.acpiPm.pressPowerButton();
  }

  /** The PCI hierarchy as the guest sees it. */
  get pciRoot(): RootComplex {
    return this.#parts.board.root;
  }

  get devices(): readonly PlacedDevice[] {
    return this.#devices.all;
  }

  /**
   * `device_add`: puts a device into the slot of a root port while the guest runs.
   * @throws {ViaductError} what is wrong with it, or what the host refused; nothing changed then
   */
  async addDevice(option: DeviceOption): Promise<void> {
    try {
      const make = await this.#assignment();
      if (this.#life.over) throw new ViaductError("PROPERTY", "The guest does not run any more");
      this.#hotPlug.add(option, make);
    } catch (error) {
      throw refusal("DEVICE_UNSUPPORTED", deviceText(option), error);
    }
  }

  /** `device_del`: asks the guest to let go of a device; see `HotPlug.requestRemoval`. */
  removeDevice(idOrPath: string): void {
    this.#hotPlug.requestRemoval(idOrPath);
  }

  /** Resets the guest, as its reset button would; a paused one stays paused. */
  async reset(cause: Cause): Promise<void> {
    const before = this.state;
    if (before !== "running" && before !== "paused") return;
    this.#life.enter("resetting");
    this.#resetting = this.#reset(before, cause);
    await this.#resetting;
  }

  /** Stops the guest at once. */
  quit(cause: Cause): void {
    this.#life.quit(cause);
  }

  /** Gives everything back to the host. Call it once, whatever happened. */
  async close(): Promise<void> {
    await this.#threads.stop();
    this.#serialHost?.flush();
    this.#serialHost?.[Symbol.dispose]();
    try {
      this.#owner[Symbol.dispose]();
    } catch (error) {
      // The owner has released the rest all the same, and nobody can do more about it.
      if (!(error instanceof SysError || error instanceof ViaductError)) throw error;
      this.#options.onNote?.(`while giving everything back to the host: ${error.message}`);
    }
  }

  async #connect(): Promise<void> {
    const { sys, vm, board } = this.#parts;
    const owner = this.#owner;
    const { devices } = this.#options;
    try {
      owner.own(board.memory.listen(new MemorySlots(vm)));
      const loop = owner.own(EventLoop.create(sys));
      owner.own(loop.watch(board.serialAttention.fd, () => this.#serialAttention()));
      // Before the devices, so that it goes after them, whenever the first of them comes.
      owner.defer(() => this.#vfio?.[Symbol.dispose]());
      owner.own(this.#devices);
      this.#devices.addBridges(devices);
      if (!devices.every(isBridge)) this.#devices.addFunctions(devices, await this.#assignment());
      this.#hotPlug.watchAll();
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Only a machine that gets an assigned device loads the code for them. */
  async #assignment(): Promise<MakeFunction> {
    const { VfioDevices } = await import("./vfio-devices.ts");
    const { tree, onNote } = this.#options;
    this.#vfio ??= VfioDevices.create({
      ...(tree && { tree }),
      ...(onNote && { report: onNote }),
      // The files of a software host are answered by this thread alone.
      inThread: tree === undefined,
      vm: this.#parts.vm,
      board: this.#parts.board,
      fail: (error) => this.#life.fail(error),
      requestRemoval: (fn) => this.#hotPlug.requestRemovalOf(fn),
      onReset: (handler) => this.#onReset(handler),
    });
    return this.#vfio.make;
  }

  #onReset(handler: () => void): Disposable {
    this.#resetHandlers.add(handler);
    return { [Symbol.dispose]: () => void this.#resetHandlers.delete(handler) };
  }

  /** Chipset and devices as at power-on; assigned ones in the order of spec/pci.md 14.9. */
  #resetHardware(): void {
    for (const handler of [...this.#resetHandlers]) handler();
    this.#parts.board.reset();
  }

  #loadGuest(): void {
    const { board, boot, vcpus, acpi } = this.#parts;
    startBootCpu(vcpus[0]!, loadLinux(board.lowRam, board.ram, boot.image, acpi));
  }

  #serialAttention(): void {
    this.#parts.board.serialAttention.drain();
    this.#serialHost?.outputReady();
    this.#serialHost?.inputWanted();
  }

  async #reset(before: "running" | "paused", cause: Cause): Promise<void> {
    await this.#threads.pause();
    if (this.#life.over) return;
    try {
      this.#hotPlug.completeRemovals();
      this.#resetHardware();
      for (const powerOn of this.#powerOn) powerOn.restore();
      this.#loadGuest();
    } catch (error) {
      this.#life.fail(asFailure("Cannot reset the guest", error));
      return;
    }
    this.#life.tell({ type: "reset", cause });
    this.#life.enter(before);
    if (before === "running") this.#threads.resume();
  }

  #guestReset(): void {
    if (this.state !== "running") return;
    if (this.#options.noReboot) this.#life.end("guest-reset", "guest-reset");
    else void this.reset("guest-reset");
  }

  #tripleFault(vcpu: number): void {
    if (this.state !== "running") return;
    if (!this.#options.noReboot) {
      this.#options.onNote?.(`vCPU ${vcpu}: triple fault; the guest restarts`);
      void this.reset("guest-reset");
      return;
    }
    const error = new ViaductError("KVM_FAILED", `vCPU ${vcpu}: The guest died of a triple fault`, {
      nextStep: "Boot with earlyprintk=ttyS0 in --append to see how far it came.",
    });
    this.#life.end("triple-fault", "guest-reset", error);
  }

  #vcpuFailed({ vcpu, what, data }: VcpuFailure): void {
    const values = data.map((value) => ` 0x${value.toString(16)}`).join("");
    const message = `vCPU ${vcpu}: The guest cannot go on: ${what}${values}`;
    this.#life.fail(
      new ViaductError("KVM_FAILED", message, {
        nextStep: "The host's kernel log (dmesg) may say more.",
      }),
    );
  }
}

function asFailure(action: string, error: unknown): ViaductError {
  if (error instanceof ViaductError) return error;
  return new ViaductError("KVM_FAILED", `${action}: ${(error as Error).message}`, { cause: error });
}
