/**
 * Runs inside L1 for hot-plug.test.ts: starts a guest with empty root ports and lets real devices
 * come and go. Prints one JSON line for each thing it saw.
 */

import { existsSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import type { GuestRunOptions } from "../../lab/guest-run.ts";
import { ControlledGuest } from "./controlled-guest.ts";

export interface HotPlugRequest {
  readonly guest: Omit<GuestRunOptions, "devices" | "onConsole">;
  /** Disks in L1, one for each root port. */
  readonly devices: readonly string[];
  /** Cycles of all devices, after those in which the guest takes its time. */
  readonly rounds: number;
}

/** Whether a path is there; looked up anew each time. */
const isThere = (device: string) => existsSync(`/sys/bus/pci/devices/${device}`);

function tell(what: string, value: unknown): void {
  process.stdout.write(`${JSON.stringify({ what, value })}\n`);
}

class Run {
  readonly #guest: ControlledGuest;
  readonly #devices: readonly string[];

  constructor(guest: ControlledGuest, devices: readonly string[]) {
    this.#guest = guest;
    this.#devices = devices;
  }

  /** Puts devices into ports, and has the guest read them. @returns what it read of each */
  async plug(ports: readonly number[]): Promise<string[]> {
    for (const at of ports) {
      const device = {
        driver: "vfio-pci",
        id: `dev${at}`,
        host: this.#devices[at]!,
        bus: `rp${at}`,
      };
      await this.#guest.qmp.execute("device_add", device);
    }
    const read: string[] = [];
    for (const at of ports) {
      this.#guest.type(`io ${at + 1}`);
      read.push(await this.#guest.says(`io ${at + 1}`));
    }
    return read;
  }

  /** Every device in and out at once. @returns what was read of each */
  async round(done: number): Promise<string[]> {
    const { qmp } = this.#guest;
    const ports = [...this.#devices.keys()];
    const read = await this.plug(ports);
    for (const at of ports) await qmp.execute("device_del", { id: `dev${at}` });
    await qmp.event("device_deleted", done + ports.length);
    return read;
  }

  async run(rounds: number): Promise<void> {
    const { qmp } = this.#guest;
    tell("status", await qmp.execute("query-status"));
    // One round first: what is loaded and allocated for the first device stays.
    const slow = Date.now();
    tell("read", await this.round(0));
    tell("slow round ms", Date.now() - slow);
    tell("pci", await qmp.execute("query-pci"));
    this.#guest.type("hurry");
    const before = this.#guest.holdings();
    tell("holdings before", before);
    const started = Date.now();
    for (let round = 1; round <= rounds; round++) {
      tell("read", await this.round(round * this.#devices.length));
    }
    tell("rounds ms", Date.now() - started);
    tell("holdings after", this.#guest.holdings());
    await this.#removal();
    await qmp.execute("quit");
    tell("exit", await this.#guest.ended);
    tell("events", qmp.seen);
    tell("socket", existsSync("/tmp/viaduct-qmp"));
    tell("stderr", this.#guest.stderr);
  }

  /** The host takes its device away while the guest reads it: the write returns when it is free. */
  async #removal(): Promise<void> {
    const device = this.#devices[0]!;
    const deleted = this.#guest.qmp.seen.filter((event) => event === "device_deleted").length;
    tell("read", await this.plug([0]));
    this.#guest.type("while io 1; do :; done >/dev/null &");
    await writeFile(`/sys/bus/pci/devices/${device}/remove`, "1");
    tell("removed", { there: isThere(device) });
    await this.#guest.qmp.event("device_deleted", deleted + 1);
    writeFileSync("/sys/bus/pci/rescan", "1");
  }
}

const request = JSON.parse(process.argv[2]!) as HotPlugRequest;
const ports = request.devices.map((_, at) => `pcie-root-port,id=rp${at},addr=${at + 1}`);
await using guest = await ControlledGuest.start({ ...request.guest, devices: ports }, [
  ...["device_deleted", "device_unplug_guest_error", "powerdown", "shutdown", "stop"],
]);
await guest.explaining(() => new Run(guest, request.devices).run(request.rounds));
