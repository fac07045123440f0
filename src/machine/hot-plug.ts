/**
 * Hot-plug: devices that come and go while the guest runs, through the slots of root ports (PCI
 * Express native hot-plug). `device_add` and `device_del` of the control socket end here, and so
 * does a host that wants its device back. Messages are those that QEMU gives, because people and
 * programs know them.
 *
 * A device that comes is made, reset, and put into its slot; the guest's driver gives the slot
 * power. A device that goes is asked for by the slot's attention button, and is given back to the
 * host when the guest takes the power away: nothing waits, the end is an event. A reset of the
 * machine completes every removal that was asked for.
 */

import type { PciBus } from "../pci/bus.ts";
import type { PciFunction } from "../pci/function.ts";
import { SysError, ViaductError } from "../sys/sys-error.ts";
import { isBridge, ROOT_PORT } from "./bridges.ts";
import { type DeviceOption, deviceText } from "./device-options.ts";
import type { Devices, MakeFunction, PlacedDevice } from "./devices.ts";

/** A guest that has not answered for so long may be asked again. */
const ASK_AGAIN_MS = 5000;

export interface HotPlugEvents {
  /** The device is given back to the host. */
  deleted(device: PlacedDevice): void;
  /** The guest was asked for the device and keeps it. */
  refused(device: PlacedDevice): void;
  /** The host refused something while a device was given back. */
  note(text: string): void;
}

export class HotPlug {
  readonly #devices: Devices;
  readonly #events: HotPlugEvents;
  readonly #now: () => number;
  /** When the guest was asked for a device. */
  readonly #asked = new Map<PlacedDevice, number>();

  /** @param now milliseconds, never backwards */
  constructor(
    devices: Devices,
    events: HotPlugEvents,
    now: () => number = () => performance.now(),
  ) {
    this.#devices = devices;
    this.#events = events;
    this.#now = now;
  }

  /** Lets the guest eject every device that was there from the start. */
  watchAll(): void {
    for (const device of this.#devices.all) this.#watch(device);
  }

  /**
   * Adds a device to the running machine.
   * @throws {ViaductError} PROPERTY, and what making the device throws; nothing has changed then
   */
  add(option: DeviceOption, make: MakeFunction): PlacedDevice {
    if (isBridge(option) || option.driver.endsWith("-nohotplug")) {
      throw refuse(`Device '${option.driver}' does not support hotplugging`);
    }
    const device = this.#devices.hotAdd(option, this.#busFor(option), make);
    this.#watch(device);
    return device;
  }

  /**
   * Asks the guest to let go of a device. The end is `deleted`, or `refused`, or nothing at all.
   * @throws {ViaductError} DEVICE_NOT_FOUND; DEVICE_BUSY: it was asked a moment ago; PROPERTY: the
   *   device sits where nothing can be unplugged
   */
  requestRemoval(idOrPath: string): void {
    const device = this.#devices.find(idOrPath);
    if (device === undefined) {
      throw new ViaductError("DEVICE_NOT_FOUND", `Device '${idOrPath}' not found`, {
        nextStep: "query-pci lists the devices of the machine with their ids (qdev_id).",
      });
    }
    this.#request(device);
  }

  /** As `requestRemoval`, of a function. */
  requestRemovalOf(fn: PciFunction): void {
    const device = this.#devices.all.find((each) => each.fn === fn);
    if (device !== undefined) this.#request(device);
  }

  /** At a reset of the machine: what the guest was asked for goes without it. */
  completeRemovals(): void {
    const buses = new Set([...this.#asked.keys()].map(({ fn }) => fn.bus));
    // The functions of a slot come and go together.
    const leaving = this.#devices.all.filter(({ fn }) => buses.has(fn.bus));
    for (const device of leaving.reverse()) this.#release(device);
  }

  #request(device: PlacedDevice): void {
    const { fn, id, path, driver } = device;
    if (driver.endsWith("-nohotplug")) {
      throw refuse(`Device '${driver}' does not support hotplugging`);
    }
    const asked = this.#asked.get(device);
    if (asked !== undefined && this.#now() - asked < ASK_AGAIN_MS) {
      throw new ViaductError(
        "DEVICE_BUSY",
        `Device ${id ?? path} is already in the process of unplug`,
        { nextStep: "Wait for DEVICE_DELETED, or ask again after five seconds." },
      );
    }
    const port = this.#devices.portAbove(fn.bus);
    if (port === undefined) throw refuseBus(fn.bus.name);
    // Before the port acts on it: without the guest the device goes at once.
    this.#asked.set(device, this.#now());
    const answer = port.requestUnplug();
    if (answer === "asked") return;
    this.#asked.delete(device);
    throw refuse(
      answer === "busy"
        ? "Hot-unplug failed: guest is busy (power indicator blinking)"
        : `Hot-unplug failed: unsupported by the port device '${port.name}'`,
    );
  }

  #busFor(option: DeviceOption): PciBus {
    const name = option.properties.get("bus");
    const bus =
      name === undefined ? this.#devices.freePort()?.secondaryBus : this.#devices.bus(name);
    if (bus === undefined) {
      throw new ViaductError("PROPERTY", `${deviceText(option)}: No root port has a free slot`, {
        nextStep: `Start with one more -device ${ROOT_PORT},id=rp9 and name it: bus=rp9`,
      });
    }
    const port = this.#devices.portAbove(bus);
    if (port === undefined) throw refuseBus(bus.name);
    if (!port.slot.hotplug) {
      throw refuse(`Hot-plug failed: unsupported by the port device '${port.name}'`);
    }
    if (port.slot.busy) {
      throw refuse("Hot-plug failed: guest is busy (power indicator blinking)");
    }
    return bus;
  }

  #watch(device: PlacedDevice): void {
    const { fn } = device;
    if (fn.bus.isRoot) return;
    fn.onUnplugged = () => this.#release(device);
    fn.onUnplugRefused = () => {
      if (this.#asked.delete(device)) this.#events.refused(device);
    };
  }

  /** The guest waits in its write: what the host refuses now is no matter of the guest's. */
  #release(device: PlacedDevice): void {
    this.#asked.delete(device);
    // A bridge takes along what is behind it.
    const below = this.#devices.all.filter(({ fn }) => fn.bus === device.fn.secondaryBus);
    for (const each of below.reverse()) this.#release(each);
    try {
      this.#devices.remove(device);
    } catch (error) {
      if (!(error instanceof SysError || error instanceof ViaductError)) throw error;
      this.#events.note(`${device.fn.name}: while giving it back to the host: ${error.message}`);
    }
    this.#events.deleted(device);
  }
}

function refuse(message: string): ViaductError {
  return new ViaductError("PROPERTY", message, {
    nextStep: `Put devices that come and go below a root port: -device ${ROOT_PORT},id=rp0`,
  });
}

function refuseBus(name: string): ViaductError {
  return refuse(`Bus '${name}' does not support hotplugging`);
}
