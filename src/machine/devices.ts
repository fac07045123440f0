/**
 * Devices: what `-device` puts on the board. Root ports first, because other devices name them;
 * a device that names no bus gets a root port of its own, so that it sits where a real one does.
 */

import { type PciBus, slotOf } from "../pci/bus.ts";
import { LINK_SPEEDS } from "../pci/express.ts";
import type { PciFunction } from "../pci/function.ts";
import { RootPort } from "../pci/root-port.ts";
import { Owner } from "../sys/owner.ts";
import { ViaductError } from "../sys/sys-error.ts";
import type { Board } from "./board.ts";
import { type DeviceOption, deviceText, PropertyReader, parseGuestSlot } from "./device-options.ts";

const ROOT_BUS = "pcie.0";
const ROOT_PORT = "pcie-root-port";
export const ROOT_PORT_PROPERTIES = [
  "id",
  "bus",
  "addr",
  "multifunction",
  "port",
  "slot",
  "chassis",
  "hotplug",
  "x-speed",
  "x-width",
];

const LINK_WIDTHS = new Map([1, 2, 4, 8, 12, 16, 32].map((width) => [`${width}`, width]));

/** Makes a function of a driver other than the root port; the caller attaches it. */
export type MakeFunction = (
  option: DeviceOption,
  place: { bus: PciBus; devfn: number },
) => PciFunction;

export class Devices implements Disposable {
  readonly #board: Board;
  readonly #owner = new Owner();
  readonly #ports = new Map<string, RootPort>();
  #ownPorts = 0;

  constructor(board: Board) {
    this.#board = board;
  }

  /** @throws {ViaductError} PROPERTY: bad properties, no such bus, no free slot */
  addRootPorts(options: readonly DeviceOption[]): void {
    for (const option of options) {
      if (option.driver === ROOT_PORT) naming(option, () => this.#addRootPort(option));
    }
  }

  /**
   * Makes and attaches everything that is not a root port.
   * @throws {ViaductError} of the device that failed
   */
  addFunctions(options: readonly DeviceOption[], make: MakeFunction): void {
    for (const option of options) {
      if (option.driver !== ROOT_PORT) naming(option, () => this.#addFunction(option, make));
    }
  }

  /** The port above a function, for asking the guest to let go of it. */
  portOf(fn: PciFunction): RootPort | undefined {
    return [...this.#ports.values()].find((port) => port.secondaryBus === fn.bus);
  }

  /** Gives every device back to the host. */
  [Symbol.dispose](): void {
    this.#owner[Symbol.dispose]();
  }

  #addFunction(option: DeviceOption, make: MakeFunction): void {
    const reader = new PropertyReader(option);
    const busName = reader.take("bus");
    const wanted = parseGuestSlot(reader);
    const bus = busName === undefined ? this.#ownPort(option) : this.#bus(busName);
    const place = { bus, devfn: wanted ?? this.#freeSlot(bus) };
    const fn = this.#owner.own(make(option, place));
    bus.attach(fn);
  }

  #addRootPort(option: DeviceOption): void {
    const reader = new PropertyReader(option);
    const name = reader.take("id");
    const bus = reader.take("bus") ?? ROOT_BUS;
    if (name === undefined) {
      throw new ViaductError("PROPERTY", "A root port needs an id", {
        nextStep: `Write -device ${ROOT_PORT},id=rp0 and put devices on it with bus=rp0.`,
      });
    }
    if (bus !== ROOT_BUS) throw reader.refuse("bus", bus, `Root ports sit on ${ROOT_BUS}.`);
    if (this.#ports.has(name) || name === ROOT_BUS) {
      throw reader.refuse("id", name, "Each id names one device.");
    }
    reader.take("chassis"); // Chassis numbers are told to guests by SHPC bridges alone.
    const devfn = parseGuestSlot(reader);
    const multifunction = reader.takeSwitch("multifunction");
    const port = reader.takeNumber("port", 255);
    const slot = reader.takeNumber("slot", 0x1fff);
    const hotplug = reader.takeSwitch("hotplug");
    const speed = reader.takeOneOf("x-speed", new Map(Object.entries(LINK_SPEEDS))) ?? 4;
    const width = reader.takeOneOf("x-width", LINK_WIDTHS) ?? 32;
    reader.finish(ROOT_PORT_PROPERTIES);
    this.#createPort(name, {
      ...(devfn !== undefined && { devfn }),
      ...(multifunction !== undefined && { multifunction }),
      ...(port !== undefined && { port }),
      ...(slot !== undefined && { slot }),
      ...(hotplug !== undefined && { hotplug }),
      link: { speed, width },
    });
  }

  #createPort(name: string, options: Partial<Parameters<typeof RootPort.create>[0]>): RootPort {
    const bus = this.#board.root.bus;
    const devfn = options.devfn ?? this.#freeSlot(bus);
    const slot = slotOf(devfn);
    const port = RootPort.create({ port: slot, slot, ...options, name, bus, devfn });
    this.#owner.own(port);
    this.#ports.set(name, port);
    return port;
  }

  #ownPort(option: DeviceOption): PciBus {
    const name = `${option.properties.get("id") ?? option.driver}.port${this.#ownPorts++}`;
    return this.#createPort(name, {}).secondaryBus;
  }

  #bus(name: string): PciBus {
    if (name === ROOT_BUS) return this.#board.root.bus;
    const port = this.#ports.get(name);
    if (port !== undefined) return port.secondaryBus;
    const known = [ROOT_BUS, ...this.#ports.keys()].join(", ");
    throw new ViaductError("PROPERTY", `Bus '${name}' not found`, {
      nextStep: `Buses of this machine: ${known}. Add one with -device ${ROOT_PORT},id=${name}`,
    });
  }

  #freeSlot(bus: PciBus): number {
    const slot = bus.freeSlot();
    if (slot !== undefined) return slot * 8;
    throw new ViaductError("PROPERTY", `No free slot on ${bus.name}`, {
      nextStep: "Put the device on another bus.",
    });
  }
}

/** Puts the option in front of what is wrong with it. */
function naming(option: DeviceOption, act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof ViaductError) || error.code !== "PROPERTY") throw error;
    const { message, cause, nextStep } = error;
    throw new ViaductError("PROPERTY", `${deviceText(option)}: ${message}`, { cause, nextStep });
  }
}
