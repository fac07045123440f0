/**
 * Bridges: what of `-device` makes buses. Root ports sit on the root bus; a conventional bridge
 * sits on the root bus or below a root port, and gives old devices the bus they were made for.
 */

import type { PciBridge } from "../pci/bridge.ts";
import { type PciBus, slotOf } from "../pci/bus.ts";
import { LINK_SPEEDS, LINK_WIDTHS } from "../pci/express.ts";
import type { PciFunction } from "../pci/function.ts";
import { PciePciBridge } from "../pci/pcie-pci-bridge.ts";
import { RootPort } from "../pci/root-port.ts";
import { Owner } from "../sys/owner.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { type DeviceOption, PropertyReader, parseGuestSlot } from "./device-options.ts";

export const ROOT_PORT = "pcie-root-port";
const PCIE_PCI_BRIDGE = "pcie-pci-bridge";

const COMMON_PROPERTIES = ["id", "bus", "addr", "multifunction"];
/** The drivers that make buses, and the properties of each. */
export const BRIDGE_PROPERTIES: ReadonlyMap<string, readonly string[]> = new Map([
  [ROOT_PORT, [...COMMON_PROPERTIES, "port", "slot", "chassis", "hotplug", "x-speed", "x-width"]],
  [PCIE_PCI_BRIDGE, [...COMMON_PROPERTIES, "msi"]],
]);

export const isBridge = ({ driver }: DeviceOption): boolean => BRIDGE_PROPERTIES.has(driver);

const SPEEDS = new Map(Object.entries(LINK_SPEEDS));
const WIDTHS = new Map(LINK_WIDTHS.map((width) => [`${width}`, width]));
const ON_OFF_AUTO = new Map([
  ["on", true],
  ["off", false],
  ["auto", true],
]);

/** What every bridge is told. */
interface Place {
  readonly name: string;
  readonly bus: PciBus;
  readonly devfn: number;
  readonly multifunction: boolean;
}

export class Bridges implements Disposable {
  readonly #root: PciBus;
  /** In the order in which they came. */
  readonly #bridges = new Map<string, PciBridge>();

  constructor(root: PciBus) {
    this.#root = root;
  }

  /** @throws {ViaductError} PROPERTY: bad properties, no such bus, no free slot */
  add(option: DeviceOption): PciBridge {
    const reader = new PropertyReader(option);
    const known = BRIDGE_PROPERTIES.get(option.driver)!;
    if (option.driver === ROOT_PORT) return this.#addRootPort(option, reader, known);
    return this.#addPciePciBridge(option, reader, known);
  }

  /** A root port for one device, with all else as it is without properties. */
  addOwnPort(name: string): RootPort {
    const devfn = freeSlot(this.#root);
    const slot = slotOf(devfn);
    return this.#keep(RootPort.create({ name, bus: this.#root, devfn, port: slot, slot }));
  }

  /** @throws {ViaductError} PROPERTY when no bus has that name */
  bus(name: string): PciBus {
    if (name === this.#root.name) return this.#root;
    const bridge = this.#bridges.get(name);
    if (bridge !== undefined) return bridge.secondaryBus;
    const known = [this.#root.name, ...this.#bridges.keys()].join(", ");
    throw new ViaductError("PROPERTY", `Bus '${name}' not found`, {
      nextStep: `Buses of this machine: ${known}. Add one with -device ${ROOT_PORT},id=${name}`,
    });
  }

  /** The root port that `bus` is behind. */
  portAbove(bus: PciBus): RootPort | undefined {
    return this.#ports.find(({ secondaryBus }) => secondaryBus === bus);
  }

  /** The first root port with hot-plug that has nothing in its slot. */
  freePort(): RootPort | undefined {
    return this.#ports.find(
      ({ slot, secondaryBus }) => slot.hotplug && secondaryBus.functions.length === 0,
    );
  }

  /** A bridge that is given up by itself. */
  forget(bridge: PciFunction): void {
    if (this.#bridges.get(bridge.name) === bridge) this.#bridges.delete(bridge.name);
  }

  [Symbol.dispose](): void {
    using owner = new Owner();
    for (const bridge of this.#bridges.values()) owner.own(bridge);
    this.#bridges.clear();
  }

  get #ports(): RootPort[] {
    return [...this.#bridges.values()].filter((bridge) => bridge instanceof RootPort);
  }

  #addRootPort(option: DeviceOption, reader: PropertyReader, known: readonly string[]): RootPort {
    const place = this.#takePlace(option, reader);
    if (!place.bus.isRoot) {
      throw reader.refuse("bus", place.bus.name, `Root ports sit on ${this.#root.name}.`);
    }
    reader.take("chassis"); // Chassis numbers are told to guests by SHPC bridges alone.
    const port = reader.takeNumber("port", 255);
    const slot = reader.takeNumber("slot", 0x1fff);
    const hotplug = reader.takeSwitch("hotplug");
    const speed = reader.takeOneOf("x-speed", SPEEDS) ?? 4;
    const width = reader.takeOneOf("x-width", WIDTHS) ?? 32;
    reader.finish(known);
    return this.#keep(
      RootPort.create({
        ...place,
        port: port ?? slotOf(place.devfn),
        slot: slot ?? slotOf(place.devfn),
        ...(hotplug !== undefined && { hotplug }),
        link: { speed, width },
      }),
    );
  }

  #addPciePciBridge(
    option: DeviceOption,
    reader: PropertyReader,
    known: readonly string[],
  ): PciBridge {
    const place = this.#takePlace(option, reader);
    if (!place.bus.isExpress) {
      const how = `Put it on ${this.#root.name} or below a ${ROOT_PORT}.`;
      throw reader.refuse("bus", place.bus.name, how);
    }
    const msi = reader.takeOneOf("msi", ON_OFF_AUTO);
    reader.finish(known);
    return this.#keep(PciePciBridge.create({ ...place, ...(msi !== undefined && { msi }) }));
  }

  #takePlace(option: DeviceOption, reader: PropertyReader): Place {
    const name = reader.take("id");
    if (name === undefined) {
      throw new ViaductError("PROPERTY", "A bridge needs an id", {
        nextStep: `Write -device ${option.driver},id=br0 and put devices on it with bus=br0.`,
      });
    }
    if (this.#bridges.has(name) || name === this.#root.name) {
      throw reader.refuse("id", name, "Each id names one device.");
    }
    const bus = this.bus(reader.take("bus") ?? this.#root.name);
    const devfn = parseGuestSlot(reader) ?? freeSlot(bus);
    const multifunction = reader.takeSwitch("multifunction") ?? false;
    return { name, bus, devfn, multifunction };
  }

  #keep<T extends PciBridge>(bridge: T): T {
    this.#bridges.set(bridge.name, bridge);
    return bridge;
  }
}

/** @throws {ViaductError} PROPERTY when all slots are taken */
export function freeSlot(bus: PciBus): number {
  const slot = bus.freeSlot();
  if (slot !== undefined) return slot * 8;
  throw new ViaductError("PROPERTY", `No free slot on ${bus.name}`, {
    nextStep: "Put the device on another bus.",
  });
}
