/**
 * Devices: what `-device` puts on the board. Bridges first, because other devices name them; a
 * device that names no bus gets a root port of its own, so that it sits where a real one does.
 */

import type { PciBus } from "../pci/bus.ts";
import type { PciFunction } from "../pci/function.ts";
import type { RootPort } from "../pci/root-port.ts";
import { Owner } from "../sys/owner.ts";
import { ViaductError } from "../sys/sys-error.ts";
import type { Board } from "./board.ts";
import { Bridges, freeSlot, isBridge } from "./bridges.ts";
import { type DeviceOption, deviceText, PropertyReader, parseGuestSlot } from "./device-options.ts";

/** Makes a function of a driver that is no bridge; the caller attaches it. */
export type MakeFunction = (
  option: DeviceOption,
  place: { bus: PciBus; devfn: number },
) => PciFunction;

export class Devices implements Disposable {
  readonly #owner = new Owner();
  readonly #bridges: Bridges;
  #ownPorts = 0;

  constructor(board: Board) {
    this.#bridges = this.#owner.own(new Bridges(board.root.bus));
  }

  /**
   * Root ports, then what may sit below them.
   * @throws {ViaductError} PROPERTY: bad properties, no such bus, no free slot
   */
  addBridges(options: readonly DeviceOption[]): void {
    const bridges = options.filter(isBridge);
    const ports = bridges.filter(({ driver }) => driver === "pcie-root-port");
    const others = bridges.filter((option) => !ports.includes(option));
    for (const option of [...ports, ...others]) naming(option, () => this.#bridges.add(option));
  }

  /**
   * Makes and attaches everything that is no bridge.
   * @throws {ViaductError} of the device that failed
   */
  addFunctions(options: readonly DeviceOption[], make: MakeFunction): void {
    for (const option of options) {
      if (!isBridge(option)) naming(option, () => this.#addFunction(option, make));
    }
  }

  /** The port above a function, for asking the guest to let go of it. */
  portOf(fn: PciFunction): RootPort | undefined {
    return this.#bridges.portOf(fn);
  }

  /** Gives every device back to the host. */
  [Symbol.dispose](): void {
    this.#owner[Symbol.dispose]();
  }

  #addFunction(option: DeviceOption, make: MakeFunction): void {
    const reader = new PropertyReader(option);
    const busName = reader.take("bus");
    const wanted = parseGuestSlot(reader);
    const bus = busName === undefined ? this.#ownPort(option) : this.#bridges.bus(busName);
    const place = { bus, devfn: wanted ?? freeSlot(bus) };
    const fn = this.#owner.own(make(option, place));
    bus.attach(fn);
  }

  #ownPort(option: DeviceOption): PciBus {
    const name = option.properties.get("id") ?? option.driver;
    return this.#bridges.addOwnPort(`${name}.port${this.#ownPorts++}`);
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
