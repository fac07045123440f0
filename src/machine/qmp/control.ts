/** What the control socket asks of the machine: `Machine`, or a test without a CPU. */

import type { RootComplex } from "../../pci/root-complex.ts";
import type { DeviceOption } from "../device-options.ts";
import type { PlacedDevice } from "../devices.ts";
import type { Cause } from "../machine-events.ts";
import type { RunState } from "../run-state.ts";

export interface ControlledMachine {
  readonly state: RunState;
  readonly pciRoot: RootComplex;
  readonly devices: readonly PlacedDevice[];
  pause(): Promise<void>;
  resume(): void;
  reset(cause: Cause): Promise<void>;
  pressPowerButton(): void;
  quit(cause: Cause): void;
  /** @throws {ViaductError} */
  addDevice(option: DeviceOption): Promise<void>;
  /** @throws {ViaductError} DEVICE_NOT_FOUND and others */
  removeDevice(idOrPath: string): void;
}
