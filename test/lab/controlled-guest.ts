/**
 * A guest in L1 with a control socket, driven from a program inside L1: shell commands are typed on
 * its console, machine commands go over the socket, by the QMP client from npm.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { guestLines } from "../../lab/guest.ts";
import { type GuestRunOptions, viaductCommand } from "../../lab/guest-run.ts";
import { NpmClient } from "../unit/qmp/npm-client.ts";

const STEP_MS = 90_000;
const BOOT_MS = 200_000;
const SOCKET = "/tmp/viaduct-qmp";

/** What the guest does: what is typed on its console. */
export const COMMANDED = `
# The function in slot $1, by its place in sysfs.
function_in() { echo /sys/bus/pci/devices/$(cat /sys/bus/pci/slots/$1/address).0; }
# Waits up to 30 seconds for a command to succeed.
until_true() { for try in $(seq 600); do eval "$1" && return 0; sleep 0.05; done; return 1; }
# Reads the disk in slot $1 and says what it read.
io() {
  until_true "ls -d $(function_in $1)/nvme/nvme*/nvme*n1 >/tmp/$1 2>/dev/null"
  disk=/dev/$(basename $(cat /tmp/$1))
  wait_for $disk
  say "io $1 $(dd if=$disk bs=64k count=4 2>/dev/null | sha256sum | cut -d' ' -f1)"
}
gone() { until_true "[ ! -e $(function_in $1) ]" && say "gone $1"; }
# Lets go at once of what is asked for: the kernel waits five seconds for a second press.
hurry() {
  cat /dev/kmsg | while read -r line; do
    case "$line" in *Slot*utton*press*off* | *Slot*off*utton*press*)
      slot=\${line#*Slot(}; echo 0 >/sys/bus/pci/slots/\${slot%%)*}/power & ;;
    esac
  done &
}
# What the kernel said of slots and disks.
kernel_log() { dmesg | grep -E 'pciehp|pcieport|pci 0|nvme|AER' | tail -40; say logged; }
say ready
while read -r line; do eval "$line"; done
`;

export class ControlledGuest implements AsyncDisposable {
  readonly #process: ChildProcess;
  #console = "";
  #stderr = "";
  #taken = 0;
  #client: NpmClient | undefined;
  /** Settles with the exit status. */
  readonly ended: Promise<number>;

  private constructor(options: GuestRunOptions) {
    const [program, ...args] = viaductCommand({
      ...options,
      extra: [...(options.extra ?? []), "--qmp", `unix:${SOCKET},server=on,wait=off`],
    });
    this.#process = spawn(program!, args, { stdio: ["pipe", "pipe", "pipe"] });
    this.#process.stdout!.on("data", (bytes) => {
      this.#console += String(bytes);
    });
    this.#process.stderr!.on("data", (bytes) => {
      this.#stderr += String(bytes);
    });
    this.ended = new Promise((resolve) => {
      this.#process.once("exit", (status) => resolve(status ?? 255));
    });
  }

  /** Starts the guest; its job must be `COMMANDED`. */
  static async start(
    options: GuestRunOptions,
    events: readonly string[],
  ): Promise<ControlledGuest> {
    const guest = new ControlledGuest(options);
    try {
      await guest.says("ready", BOOT_MS);
      guest.#client = await NpmClient.connect(SOCKET, events);
      return guest;
    } catch (error) {
      await guest[Symbol.asyncDispose]();
      throw error;
    }
  }

  get qmp(): NpmClient {
    return this.#client!;
  }

  get pid(): number {
    return this.#process.pid!;
  }

  get stderr(): string {
    return this.#stderr;
  }

  type(line: string): void {
    this.#process.stdin!.write(`${line}\n`);
  }

  /** Waits for a line of the guest's that begins so, after the last one taken. @returns its rest */
  async says(start: string, limitMs = STEP_MS): Promise<string> {
    const deadline = Date.now() + limitMs;
    for (;;) {
      // A line that has not ended is not said yet.
      const lines = guestLines(this.#console.slice(0, this.#console.lastIndexOf("\n") + 1));
      const at = lines.findIndex((line, index) => index >= this.#taken && line.startsWith(start));
      if (at >= 0) {
        this.#taken = at + 1;
        return lines[at]!.slice(start.length).trim();
      }
      const isStopped = this.#stderr.includes("The guest cannot go on");
      if (Date.now() > deadline || isStopped || this.#process.exitCode !== null) {
        throw new Error(`no "${start}" from the guest:\n${this.#console}\n${this.#stderr}`);
      }
      await delay(20);
    }
  }

  /** What the process holds: descriptors, mappings of devices and guest RAM, pinned memory. */
  holdings(): string[] {
    const at = `/proc/${this.pid}`;
    const descriptors = readdirSync(`${at}/fd`).map((fd) =>
      readlinkSync(`${at}/fd/${fd}`).replace(/\d+(?=\]$)/, "N"),
    );
    const maps = readFileSync(`${at}/maps`, "utf8").split("\n");
    const devices = maps.filter((line) => /vfio|memfd/.test(line));
    const status = readFileSync(`${at}/status`, "utf8").split("\n");
    return [
      ...descriptors.map((target) => `fd ${target}`),
      ...devices.map((line) => `map ${line.split(/\s+/).slice(5).join(" ")}`),
      ...status.filter((line) => /^(VmLck|VmPin):/.test(line)),
    ].sort();
  }

  /** Runs `act`; what it throws gets the guest's kernel log and console. */
  async explaining<T>(act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      this.type("kernel_log");
      await this.says("logged").catch(() => {});
      throw new Error(`${(error as Error).message}\n${this.#console.slice(-5000)}`, {
        cause: error,
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client?.[Symbol.dispose]();
    this.#process.kill("SIGKILL");
    await this.ended;
  }
}
