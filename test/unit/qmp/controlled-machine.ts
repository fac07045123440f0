/**
 * A machine without a CPU behind a control socket: real devices, hot-plug and states over the
 * software host; only that no vCPU stops and goes.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DeviceOption } from "../../../src/machine/device-options.ts";
import type { PlacedDevice } from "../../../src/machine/devices.ts";
import { Life } from "../../../src/machine/life.ts";
import type { Cause } from "../../../src/machine/machine-events.ts";
import type { ControlledMachine } from "../../../src/machine/qmp/control.ts";
import { QmpServer } from "../../../src/machine/qmp/server.ts";
import type { RunState } from "../../../src/machine/run-state.ts";
import type { RootComplex } from "../../../src/pci/root-complex.ts";
import { ViaductError } from "../../../src/sys/sys-error.ts";
import { HotPlugMachine } from "../hot-plug/hot-plug-machine.ts";

export class StillControlled implements ControlledMachine, AsyncDisposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "viaduct-qmp-"));
  readonly path = join(this.#folder, "socket");
  readonly hot: HotPlugMachine;
  readonly life: Life;
  buttonPresses = 0;
  #server: QmpServer | undefined;

  private constructor() {
    this.life = new Life({
      stayOnError: true,
      onEvent: (event) => this.#server?.tell(event),
      onStay: () => {},
    });
    this.hot = new HotPlugMachine([{}, {}], {
      happened: (type, device) => this.life.tell({ type, device }),
      failed: ({ name }) => this.life.fail(new ViaductError("DEVICE_UNSUPPORTED", `${name}: AER`)),
    });
    this.life.enter("running");
  }

  static async start(): Promise<StillControlled> {
    const machine = new StillControlled();
    machine.#server = await QmpServer.open(machine, machine.path);
    return machine;
  }

  get server(): QmpServer {
    return this.#server!;
  }

  get state(): RunState {
    return this.life.state;
  }

  get pciRoot(): RootComplex {
    return this.hot.machine.root;
  }

  get devices(): readonly PlacedDevice[] {
    return this.hot.devices.all;
  }

  async pause(): Promise<void> {
    if (this.state === "running") this.life.enter("paused");
  }

  resume(): void {
    if (this.state === "paused") this.life.enter("running");
  }

  async reset(cause: Cause): Promise<void> {
    const before = this.state;
    this.life.enter("resetting");
    this.hot.hotPlug.completeRemovals();
    this.hot.machine.root.reset();
    this.life.tell({ type: "reset", cause });
    this.life.enter(before);
  }

  pressPowerButton(): void {
    this.buttonPresses += 1;
    this.life.tell({ type: "powerdown" });
  }

  quit(cause: Cause): void {
    this.life.quit(cause);
  }

  async addDevice(option: DeviceOption): Promise<void> {
    this.hot.hotPlug.add(option, this.hot.make);
  }

  removeDevice(idOrPath: string): void {
    this.hot.hotPlug.requestRemoval(idOrPath);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    this.hot[Symbol.dispose]();
    rmSync(this.#folder, { recursive: true });
  }
}
