/**
 * A machine without a CPU with root ports, hot-plug, and a guest in each port (`pciehp-guest.ts`),
 * over the software host. What it holds of the host is on the ledger.
 */

import type { DeviceOption } from "../../../src/machine/device-options.ts";
import { Devices, type MakeFunction, type PlacedDevice } from "../../../src/machine/devices.ts";
import { HotPlug } from "../../../src/machine/hot-plug.ts";
import type { RootPort } from "../../../src/pci/root-port.ts";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import { msixTestSpec } from "../../../src/sim/devices/msix.ts";
import { Owner } from "../../../src/sys/owner.ts";
import { ViaductError } from "../../../src/sys/sys-error.ts";
import type { VfioPciEnvironment } from "../../../src/vfio/pci/environment.ts";
import { parseProperties } from "../../../src/vfio/pci/properties.ts";
import { VfioPciFunction } from "../../../src/vfio/pci/vfio-pci.ts";
import { TestMachine } from "../vfio-pci/machine.ts";
import { PciehpGuest } from "./pciehp-guest.ts";

/** MSI-X, mapped BARs and a ROM. */
export const MSIX = "0000:01:00.0";
/** INTx and MSI. */
export const EDU = "0000:02:00.0";

export const option = (driver: string, properties: Record<string, string>): DeviceOption => ({
  driver,
  properties: new Map(Object.entries(properties)),
});

export const vfioPci = (properties: Record<string, string>): DeviceOption =>
  option("vfio-pci", { host: MSIX, ...properties });

export interface HotPlugHooks {
  readonly happened?: (type: "device-deleted" | "device-kept", device: PlacedDevice) => void;
  /** A device reported an error that it cannot recover from. */
  readonly failed?: (fn: VfioPciFunction) => void;
}

export class HotPlugMachine implements Disposable {
  readonly machine: TestMachine;
  readonly devices: Devices;
  readonly hotPlug: HotPlug;
  /** `deleted ID`, `kept ID`, and notes. */
  readonly events: string[] = [];
  readonly guests: PciehpGuest[];
  /** Milliseconds, as hot-plug sees them. */
  now = 0;
  readonly #owner = new Owner();

  readonly #hooks: HotPlugHooks;

  /** @param ports properties of rp0 at slot 1, rp1 at slot 2, ... */
  constructor(ports: ReadonlyArray<Record<string, string>> = [{}], hooks: HotPlugHooks = {}) {
    this.#hooks = hooks;
    this.machine = this.#owner.own(
      new TestMachine({
        devices: [
          { spec: { ...msixTestSpec(MSIX), rom: new Uint8Array(2048).fill(1) }, group: 7 },
          { spec: eduSpec(EDU), group: 8 },
        ],
      }),
    );
    const { root, memory } = this.machine;
    this.devices = this.#owner.own(new Devices(root));
    const named = (what: string) => (device: PlacedDevice) => {
      this.events.push(`${what} ${device.id ?? device.path}`);
      hooks.happened?.(what === "kept" ? "device-kept" : "device-deleted", device);
    };
    this.hotPlug = new HotPlug(
      this.devices,
      {
        deleted: named("deleted"),
        refused: named("kept"),
        note: (text) => void this.events.push(text),
      },
      () => this.now,
    );
    this.devices.addBridges(
      ports.map((properties, at) =>
        option("pcie-root-port", { id: `rp${at}`, addr: `${at + 1}`, ...properties }),
      ),
    );
    this.guests = ports.map((_, at) => new PciehpGuest(root, memory, at + 1));
    for (const guest of this.guests) guest.boot();
  }

  readonly make: MakeFunction = ({ properties }, place) =>
    VfioPciFunction.create({
      properties: parseProperties(Object.fromEntries(properties)),
      ...place,
      env: this.#env,
    });

  get guest(): PciehpGuest {
    return this.guests[0]!;
  }

  port(name = "rp0"): RootPort {
    return this.devices.portAbove(this.devices.bus(name))!;
  }

  add(properties: Record<string, string> = { id: "dev", bus: "rp0" }): PlacedDevice {
    return this.hotPlug.add(vfioPci(properties), this.make);
  }

  /** Events since the last call. */
  take(): string[] {
    return this.events.splice(0);
  }

  /** Everything that a device holds, of the host and of the machine, one line each. */
  held(): string[] {
    const { ledger, host, routes, platform, clock, state, memory, io, ioeventfds } = this.machine;
    return [
      ...ledger.live(),
      ...host.describe(),
      ...[...routes.routes.keys()].map((gsi) => `route ${gsi}`),
      ...[...routes.irqfds.keys()].map((gsi) => `irqfd ${gsi}`),
      ...[...platform.lines].map((gsi) => `line ${gsi}`),
      ...[...memory.sections, ...io.sections].map(({ region }) => `section ${region.name}`),
      ...ioeventfds.map(() => "ioeventfd"),
      `timers ${clock.pending}`,
      `groups ${state.groups.length}, spaces ${state.spaces.length}`,
      ...this.devices.all.map(({ path }) => path),
    ];
  }

  [Symbol.dispose](): void {
    this.#owner[Symbol.dispose]();
  }

  get #env(): VfioPciEnvironment {
    return {
      ...this.machine.env,
      onUnrecoverableError: (fn) => this.#hooks.failed?.(fn),
      onRemovalRequest: (fn) => {
        try {
          this.hotPlug.requestRemovalOf(fn);
          this.events.push("the guest was asked");
        } catch (error) {
          if (!(error instanceof ViaductError)) throw error;
          this.events.push(error.message);
        }
      },
    };
  }
}
