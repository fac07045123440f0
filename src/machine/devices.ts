/**
 * Devices: what `-device` and `device_add` put on the board. Bridges first, because other devices
 * name them; a device that names no bus gets a root port of its own, so that it sits where a real
 * one does. How devices come and go while the guest runs is hot-plug.ts.
 */

import type { PciBus, Plug } from "../pci/bus.ts";
import type { PciFunction } from "../pci/function.ts";
import type { RootComplex } from "../pci/root-complex.ts";
import type { RootPort } from "../pci/root-port.ts";
import { Owner } from "../sys/owner.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { Bridges, freeSlot, isBridge, ROOT_PORT } from "./bridges.ts";
import { type DeviceOption, deviceText, PropertyReader, parseGuestSlot } from "./device-options.ts";

/** Where a function will sit. */
export interface Place {
  readonly bus: PciBus;
  readonly devfn: number;
  /** It comes while the guest runs. */
  readonly hotplugged: boolean;
}

/** Makes a function of a driver that is no bridge; the caller attaches it. */
export type MakeFunction = (option: DeviceOption, place: Place) => PciFunction;

/** A device on the board. */
export interface PlacedDevice {
  readonly id: string | undefined;
  /** Its name in QEMU's object tree: `/machine/peripheral/ID`. */
  readonly path: string;
  readonly driver: string;
  readonly fn: PciFunction;
}

export class Devices implements Disposable {
  readonly #bridges: Bridges;
  /** In the order in which they came. */
  #placed: PlacedDevice[] = [];
  #ownPorts = 0;
  #anonymous = 0;

  constructor(root: RootComplex) {
    this.#bridges = new Bridges(root.bus);
  }

  get all(): readonly PlacedDevice[] {
    return this.#placed;
  }

  /**
   * Root ports, then what may sit below them.
   * @throws {ViaductError} PROPERTY: bad properties, no such bus, no free slot
   */
  addBridges(options: readonly DeviceOption[]): void {
    const bridges = options.filter(isBridge);
    const ports = bridges.filter(({ driver }) => driver === ROOT_PORT);
    const others = bridges.filter((option) => !ports.includes(option));
    for (const option of [...ports, ...others]) {
      const fn = naming(option, () => this.#bridges.add(option));
      this.#enter({ id: fn.name, driver: option.driver, fn });
    }
  }

  /**
   * Makes and attaches everything that is no bridge.
   * @throws {ViaductError} of the device that failed
   */
  addFunctions(options: readonly DeviceOption[], make: MakeFunction): void {
    for (const option of options) {
      if (isBridge(option)) continue;
      naming(option, () => {
        const bus = option.properties.get("bus");
        this.#addFunction(option, bus === undefined ? this.#ownPort(option) : this.bus(bus), make);
      });
    }
  }

  /**
   * Makes a function while the guest runs, resets it, and shows it on `bus`.
   * @throws {ViaductError} PROPERTY, and what making it throws; nothing is held then
   */
  hotAdd(option: DeviceOption, bus: PciBus, make: MakeFunction): PlacedDevice {
    return naming(option, () => this.#addFunction(option, bus, make, "hot"));
  }

  /** @throws {ViaductError} PROPERTY when no bus has that name */
  bus(name: string): PciBus {
    return this.#bridges.bus(name);
  }

  /** The root port that `bus` is behind. */
  portAbove(bus: PciBus): RootPort | undefined {
    return this.#bridges.portAbove(bus);
  }

  /** A root port into which a device can be hot-plugged: the first that has nothing in its slot. */
  freePort(): RootPort | undefined {
    return this.#bridges.freePort();
  }

  /** By `id`, or by path when it begins with a slash. */
  find(idOrPath: string): PlacedDevice | undefined {
    const key = idOrPath.startsWith("/") ? "path" : "id";
    return this.#placed.find((device) => device[key] === idOrPath);
  }

  /**
   * Takes a device off the board and gives it back to the host. Nothing may sit below it.
   * @throws what the host refused; the device is gone all the same
   */
  remove(device: PlacedDevice): void {
    this.#placed = this.#placed.filter((other) => other !== device);
    this.#bridges.forget(device.fn);
    device.fn[Symbol.dispose]();
  }

  /** Gives every device back to the host. */
  [Symbol.dispose](): void {
    using owner = new Owner();
    owner.own(this.#bridges);
    for (const { fn } of this.#placed) if (fn.secondaryBus === undefined) owner.own(fn);
    this.#placed = [];
  }

  #addFunction(
    option: DeviceOption,
    bus: PciBus,
    make: MakeFunction,
    how: Plug = "cold",
  ): PlacedDevice {
    const id = option.properties.get("id");
    if (id !== undefined && this.find(id) !== undefined) {
      throw new ViaductError("PROPERTY", `Duplicate device ID '${id}'`, {
        nextStep: "Each id names one device.",
      });
    }
    const devfn = parseGuestSlot(new PropertyReader(option)) ?? freeSlot(bus);
    using owner = new Owner();
    const fn = owner.own(make(option, { bus, devfn, hotplugged: how === "hot" }));
    // As at power-on, and before a running guest can see it (spec/pci.md 14A).
    if (how === "hot") fn.reset();
    bus.attach(fn, how);
    owner.move();
    return this.#enter({ id, driver: option.driver, fn });
  }

  #enter(device: Omit<PlacedDevice, "path">): PlacedDevice {
    const { id } = device;
    const name = id ?? `device[${this.#anonymous++}]`;
    const path = `/machine/peripheral${id === undefined ? "-anon" : ""}/${name}`;
    const placed = { ...device, path };
    this.#placed.push(placed);
    return placed;
  }

  #ownPort(option: DeviceOption): PciBus {
    const name = option.properties.get("id") ?? option.driver;
    const port = this.#bridges.addOwnPort(`${name}.port${this.#ownPorts++}`);
    this.#enter({ id: port.name, driver: ROOT_PORT, fn: port });
    return port.secondaryBus;
  }
}

/** Puts the option in front of what is wrong with it. */
function naming<T>(option: DeviceOption, act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof ViaductError) || error.code !== "PROPERTY") throw error;
    const { message, cause, nextStep } = error;
    throw new ViaductError("PROPERTY", `${deviceText(option)}: ${message}`, { cause, nextStep });
  }
}
