/**
 * Assigned devices on the board: what vfio/ asks of the machine, and the drivers of `-device` that
 * need it. Imported only when a machine has such a device.
 */

import type { HostTree } from "../host/tree.ts";
import type { Vm } from "../kvm/vm.ts";
import { EventLoop } from "../sys/event-loop.ts";
import { Owner } from "../sys/owner.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { KvmVfioDevice } from "../vfio/kvm-device.ts";
import { hostClock, type VfioPciEnvironment } from "../vfio/pci/environment.ts";
import { parseProperties, type VfioPciDriver } from "../vfio/pci/properties.ts";
import { VfioPciFunction } from "../vfio/pci/vfio-pci.ts";
import { type Report, reportToStderr } from "../vfio/report.ts";
import { VfioState } from "../vfio/state.ts";
import type { Board } from "./board.ts";
import { BRIDGE_PROPERTIES } from "./bridges.ts";
import type { DeviceOption } from "./device-options.ts";
import type { MakeFunction } from "./devices.ts";
import { IGD_LPC_BRIDGE, makeIgdLpcBridge } from "./igd-lpc-bridge.ts";

const DRIVERS: readonly string[] = ["vfio-pci", "vfio-pci-nohotplug"] satisfies VfioPciDriver[];

export interface VfioHost {
  readonly vm: Vm;
  readonly board: Board;
  readonly tree?: HostTree;
  /** Whether the vCPUs' threads can make calls of the devices' files. */
  readonly inThread: boolean;
  readonly report?: Report;
  /** The guest must not go on. */
  fail(error: ViaductError): void;
  /** Asks the guest to let go of a device that the host wants back. @throws {ViaductError} */
  requestRemoval(fn: VfioPciFunction): void;
  /** Calls `handler` at each reset of the machine, until disposed. */
  onReset(handler: () => void): Disposable;
}

/** The part of VFIO's state that a machine has once; its devices come and go. */
export class VfioDevices implements Disposable {
  readonly #env: VfioPciEnvironment;
  readonly #owner: Owner;

  private constructor(env: VfioPciEnvironment, owner: Owner) {
    this.#env = env;
    this.#owner = owner;
  }

  static create(host: VfioHost): VfioDevices {
    using owner = new Owner();
    const { sys } = host.vm;
    const { tree, report = reportToStderr } = host;
    const kvmDevice = owner.own(new KvmVfioDevice(sys, host.vm.fd, report));
    const loop = owner.own(EventLoop.create(sys));
    const vfio = new VfioState(sys, {
      ...(tree && { tree }),
      report,
      kvmDevice,
      onFatal: (error) => host.fail(error),
      onMachineReset: (handler) => host.onReset(handler),
    });
    const env: VfioPciEnvironment = {
      vfio,
      loop,
      addressSpace: host.board.memory,
      ...(host.inThread && { accessGates: host.board.accessGates }),
      clock: hostClock,
      assignIoeventfd: (request) => host.vm.assignIoeventfd(request),
      onUnrecoverableError: (fn) => {
        const message = `${fn.name}: The device reported an error that it cannot recover from`;
        host.fail(
          new ViaductError("DEVICE_UNSUPPORTED", message, {
            nextStep: "The host's kernel log (dmesg) says which error it was.",
          }),
        );
      },
      onRemovalRequest: (fn) => requestRemoval(host, fn, vfio.report),
    };
    return new VfioDevices(env, owner.move());
  }

  /** @throws {ViaductError} PROPERTY for a driver that is not there */
  readonly make: MakeFunction = (option: DeviceOption, place) => {
    if (option.driver === IGD_LPC_BRIDGE) return makeIgdLpcBridge(option, place);
    if (!DRIVERS.includes(option.driver)) {
      throw new ViaductError("PROPERTY", `There is no device ${option.driver}`, {
        nextStep: `Devices: ${[...BRIDGE_PROPERTIES.keys(), ...DRIVERS, IGD_LPC_BRIDGE].join(", ")}.`,
      });
    }
    const driver = option.driver as VfioPciDriver;
    const properties = parseProperties(Object.fromEntries(option.properties), driver);
    return VfioPciFunction.create({ properties, ...place, env: this.#env });
  };

  /** After the devices. */
  [Symbol.dispose](): void {
    this.#owner[Symbol.dispose]();
  }
}

/** Spec/pci.md 14.11: as `device_del` asks; a guest that cannot be asked is worth a warning. */
function requestRemoval(host: VfioHost, fn: VfioPciFunction, report: Report): void {
  let what = "the guest was asked to let go of it";
  try {
    host.requestRemoval(fn);
  } catch (error) {
    if (!(error instanceof ViaductError)) throw error;
    what = error.message;
  }
  report(`vfio ${fn.name}: The host wants the device back: ${what}`);
}
