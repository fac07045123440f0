/**
 * HostMachine: this machine as L1, for one whose KVM runs Linux guests and that has devices to give
 * away. VIADUCT_LAB_DEVICES names them: `nvme=0000:01:00.0 edu=0000:02:00.0`, each by its name in
 * zoo.ts. A test that asks for a device takes the next of that name; a disk's content is
 * OVERWRITTEN with what the test wants on it. Drivers are put back at the end.
 */

import { spawn } from "node:child_process";
import { dirname } from "node:path";
import { ViaductError } from "../src/sys/sys-error.ts";
import type { RunResult } from "./agent.ts";
import { type L1, type L1Options, type RunOptions, vfioBinding } from "./l1.ts";
import { quote } from "./quote.ts";

const RUN_MS = 120_000;
const FILL_MS = 600_000;
/** What timeout(1) says of a command that it killed, as the agent of the emulated L1 does. */
const KILLED = 137;

interface GivenDevice {
  readonly name: string;
  readonly address: string;
  taken: boolean;
}

/** @throws {ViaductError} USAGE */
export function givenDevices(text: string): GivenDevice[] {
  return text
    .split(/\s+/)
    .filter(Boolean)
    .map((word) => {
      const [, name, address] =
        /^([\w-]+)=([\da-f]{4}:[\da-f]{2}:[\da-f]{2}\.[0-7])$/.exec(word) ?? [];
      if (name !== undefined && address !== undefined) return { name, address, taken: false };
      throw new ViaductError("USAGE", `VIADUCT_LAB_DEVICES: "${word}" is no device`, {
        nextStep: "Write NAME=DDDD:BB:DD.F, separated by blanks.",
      });
    });
}

export class HostMachine implements L1 {
  readonly #devices: readonly GivenDevice[];
  /** Shell that undoes what was done to devices. */
  readonly #undo: string[] = [];

  private constructor(devices: readonly GivenDevice[]) {
    this.#devices = devices;
  }

  /** @throws {ViaductError} LAB_FAILED: no KVM or VFIO, or a topology that only emulation has */
  static async start({ devices = [], iommu = "intel" }: L1Options): Promise<HostMachine> {
    if (devices.length > 0 || iommu !== "intel") throw notHere("devices that are there from boot");
    const machine = new HostMachine(givenDevices(process.env["VIADUCT_LAB_DEVICES"] ?? ""));
    const { status } = await machine.shell("[ -w /dev/kvm ] && [ -c /dev/vfio/vfio ]");
    if (status === 0) return machine;
    throw new ViaductError("LAB_FAILED", "VIADUCT_LAB=host: needs /dev/kvm and /dev/vfio/vfio", {
      nextStep: "viaduct doctor says what this machine lacks.",
    });
  }

  run(command: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const { cwd, env, stdin = "", timeoutMs = RUN_MS, onOutput } = options;
    const limit = ["timeout", "-s", "KILL", String(timeoutMs / 1000)];
    const [program, ...args] = [...limit, ...command];
    const child = spawn(program!, args, {
      ...(cwd !== undefined && { cwd }),
      env: { PATH: this.path, HOME: "/root", ...env },
    });
    child.stdin.on("error", () => {}); // it may end without having read all
    child.stdin.end(stdin);
    const texts = { stdout: "", stderr: "" };
    for (const stream of ["stdout", "stderr"] as const) {
      child[stream].setEncoding("utf8").on("data", (text: string) => {
        texts[stream] += text;
        onOutput?.(stream, text);
      });
    }
    return new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code) => {
        const status = code ?? KILLED;
        resolve({ status, ...texts, timedOut: status === KILLED });
      });
    });
  }

  shell(script: string, options: RunOptions = {}): Promise<RunResult> {
    return this.run(["/bin/sh", "-c", script], options);
  }

  async sh(script: string, options: RunOptions = {}): Promise<string> {
    const { status, stdout, stderr } = await this.shell(script, options);
    if (status === 0) return stdout.trim();
    const message = `on this machine: ${script}: status ${status}: ${stderr.trim()}`;
    throw new ViaductError("LAB_FAILED", message);
  }

  get path(): string {
    const system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    return `${dirname(process.execPath)}:${system}`;
  }

  /** @returns `file` itself: `plug` copies it to the disk */
  drive(file: string): Promise<string> {
    return Promise.resolve(file);
  }

  /** The next device of that name that no test has taken. */
  async plug(name: string, properties: Record<string, unknown> = {}): Promise<string> {
    const device = this.#devices.find((each) => each.name === name && !each.taken);
    if (device === undefined) {
      throw new ViaductError("LAB_FAILED", `${name}: this machine gives away no more of them`, {
        nextStep: "Name one in VIADUCT_LAB_DEVICES.",
      });
    }
    device.taken = true;
    const { address } = device;
    const sysfs = `/sys/bus/pci/devices/${address}`;
    const driver = await this.sh(`basename $(readlink ${sysfs}/driver || echo none)`);
    this.#undo.push(`echo > ${sysfs}/driver_override; ${rebinding(address)}`);
    if (driver === "vfio-pci") this.#undo.push(vfioBinding(address));
    const { drive } = properties;
    if (typeof drive === "string") await this.#fillDisk(address, drive);
    return address;
  }

  async unplug(): Promise<void> {
    throw notHere("pulling a device out");
  }

  async bindVfio(...addresses: readonly string[]): Promise<void> {
    for (const bdf of addresses) await this.sh(vfioBinding(bdf));
  }

  dmesg(): Promise<string> {
    return this.sh("dmesg");
  }

  get pid(): number {
    return process.pid;
  }

  async qmp(): Promise<unknown> {
    throw notHere("the monitor");
  }

  async hmp(): Promise<string> {
    throw notHere("the monitor");
  }

  deviceId(device: string): string {
    return device;
  }

  async event(): Promise<never> {
    throw notHere("the monitor");
  }

  get terminal(): string {
    throw notHere("a second console");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const script of this.#undo.splice(0)) await this.shell(script);
  }

  /** Through the host's own driver, before a guest gets the disk. */
  async #fillDisk(address: string, file: string): Promise<void> {
    const sysfs = `/sys/bus/pci/devices/${address}`;
    await this.sh(
      `echo > ${sysfs}/driver_override; ${rebinding(address)}
       for try in $(seq 100); do
         # With multipath the controller's own name of it has a "c" part.
         disk=$(ls ${sysfs}/nvme/nvme*/ 2>/dev/null |
           sed -nE 's/^(nvme[0-9]+)(c[0-9]+)?(n[0-9]+)$/\\1\\3/p' | head -n 1)
         [ -n "$disk" ] && [ -b /dev/$disk ] && break
         sleep 0.1
       done
       dd if=${quote(file)} of=/dev/$disk bs=1M conv=fsync 2>/dev/null`,
      { timeoutMs: FILL_MS },
    );
  }
}

/** Shell: gives a function to the driver that the kernel would choose. */
function rebinding(address: string): string {
  const sysfs = `/sys/bus/pci/devices/${address}`;
  return `
    [ -e ${sysfs}/driver ] && echo ${address} > ${sysfs}/driver/unbind
    echo ${address} > /sys/bus/pci/drivers_probe`;
}

function notHere(what: string): ViaductError {
  return new ViaductError("LAB_FAILED", `VIADUCT_LAB=host: a real machine has not: ${what}`, {
    nextStep: "Run it without VIADUCT_LAB, in the emulated lab.",
  });
}
