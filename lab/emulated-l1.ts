/**
 * EmulatedL1: the machine under QEMU's emulation. It sees this machine's file system read-only over
 * 9p, with an overlay in memory, so the repository and the cache are there under their own paths.
 *
 * Read in this order: `EmulatedL1.start`, `run`, `plug`; snapshot.ts says how a start becomes a restore.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ViaductError } from "../src/sys/sys-error.ts";
import { Agent, type RunResult } from "./agent.ts";
import { kernel } from "./kernel.ts";
import { type L1, type L1Options, type RunOptions, vfioBinding } from "./l1.ts";
import { type L1Machine, l1Machine } from "./l1-command.ts";
import { serveMonitor } from "./monitor.ts";
import { progress } from "./progress.ts";
import { Qmp, type QmpEvent } from "./qmp.ts";
import { quote } from "./quote.ts";
import { restoreArguments, saveSnapshot, snapshotPath } from "./snapshot.ts";
import { deviceOption, option, zooDevice } from "./zoo.ts";

const BOOT_MS = 60_000;
const RUN_MS = 120_000;
const PLUG_MS = 15_000;
const UNPLUG_MS = 30_000;

/** Mounts this machine's root and moves L1's own file systems into it. */
const ENTER_HOST_ROOT = `
set -e
mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro root /ro
mount -t tmpfs tmpfs /rw && mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work overlay /new
for folder in proc sys dev run; do mkdir -p /new/$folder; mount --bind /$folder /new/$folder; done
mkdir -p /new/dev/shm /new/dev/pts
mount -t tmpfs tmpfs /new/dev/shm
mount -t devpts devpts /new/dev/pts
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null || true
ip link set lo up 2>/dev/null || true
`;

const FOLDER = /^viaduct-l1-(\d+)-/;

/** A folder for one run's sockets and log; those of processes that were killed are removed. */
function makeRunFolder(): string {
  for (const name of readdirSync(tmpdir())) {
    const owner = FOLDER.exec(name)?.[1];
    if (owner === undefined || existsSync(`/proc/${owner}`)) continue;
    rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
  return mkdtempSync(join(tmpdir(), `viaduct-l1-${process.pid}-`));
}

export class EmulatedL1 implements L1 {
  readonly #machine: L1Machine;
  readonly #process: ChildProcess;
  readonly #folder: string;
  readonly #qmp: Qmp;
  readonly #agent: Agent;
  readonly #ports = new Map<number, { id: string; address: string }>();
  #monitor: Disposable | undefined;
  #drives = 0;

  private constructor(
    machine: L1Machine,
    child: ChildProcess,
    folder: string,
    qmp: Qmp,
    agent: Agent,
  ) {
    this.#machine = machine;
    this.#process = child;
    this.#folder = folder;
    this.#qmp = qmp;
    this.#agent = agent;
  }

  /** Brings up L1: restored from a snapshot when there is one for these options, else booted. */
  static async start(options: L1Options = {}): Promise<EmulatedL1> {
    const machine = await l1Machine({ ...options, kernel: await kernel(options.kernel ?? "lab") });
    const own = (options.devices?.length ?? 0) + (options.extraArgs?.length ?? 0) > 0;
    const l1 = await EmulatedL1.#launch(machine, own ? undefined : await snapshotPath(machine));
    try {
      await l1.#enterHostRoot();
      return l1;
    } catch (error) {
      await l1[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Boots `machine` to where its agent is ready and saves its memory to `path`. */
  static async makeSnapshot(machine: L1Machine, path: string): Promise<void> {
    await using l1 = await EmulatedL1.#launch(machine, undefined);
    await saveSnapshot(l1.#qmp, path);
  }

  /** Emulation now and then hangs at boot; a second try says so and is the last. */
  static async #launch(machine: L1Machine, snapshot: string | undefined): Promise<EmulatedL1> {
    try {
      return await EmulatedL1.#launchOnce(machine, snapshot);
    } catch (error) {
      if (/QEMU ended with status [1-9]/.test((error as Error).message)) throw error;
      progress(`L1 did not come up (${(error as Error).message}); starting it once more`);
      return EmulatedL1.#launchOnce(machine, snapshot);
    }
  }

  static async #launchOnce(machine: L1Machine, snapshot: string | undefined): Promise<EmulatedL1> {
    const folder = makeRunFolder();
    const { program, args, env } = machine.command(folder);
    const restore = snapshot === undefined ? [] : restoreArguments();
    const child = spawn(program, [...args, ...restore], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const kill = (): void => void child.kill("SIGKILL");
    process.once("exit", kill);
    let messages = "";
    const ended = new Promise<never>((_, reject) => {
      child.once("error", reject);
      child.once("exit", (status, signal) => {
        process.off("exit", kill);
        const how = signal ?? `status ${status}`;
        reject(new ViaductError("LAB_FAILED", `QEMU ended with ${how}: ${messages.trim()}`));
      });
    });
    ended.catch(() => {}); // once L1 is up, what waits for it says so
    const log = createWriteStream(join(folder, "console.log"));
    child.stdout.pipe(log);
    child.stdout.on("data", (text: Buffer) => {
      messages = (messages + text.toString()).slice(-2000);
    });
    child.stderr.on("data", (text: Buffer) => {
      if (process.env["VIADUCT_LAB_VERBOSE"] === "1") process.stderr.write(text);
      messages = (messages + text.toString()).slice(-2000);
      log.write(text);
    });
    try {
      return await Promise.race([EmulatedL1.#connect(machine, child, folder, snapshot), ended]);
    } catch (error) {
      // When QEMU has ended by itself, its own words are the better ones: they come with its exit.
      const reason = await Promise.race([ended.catch((one: Error) => one), delay(300, error)]);
      kill();
      rmSync(folder, { recursive: true, force: true });
      throw reason;
    }
  }

  static async #connect(
    machine: L1Machine,
    child: ChildProcess,
    folder: string,
    snapshot: string | undefined,
  ): Promise<EmulatedL1> {
    const qmp = await Qmp.connect(join(folder, "qmp"), BOOT_MS);
    const agent = await Agent.connect(folder, BOOT_MS);
    const l1 = new EmulatedL1(machine, child, folder, qmp, agent);
    l1.#monitor = await serveMonitor(join(folder, "monitor"), l1, BOOT_MS);
    if (snapshot === undefined) {
      await agent.ready(BOOT_MS);
    } else {
      await qmp.execute("migrate-incoming", { uri: `file:${snapshot}` });
      await l1.#running();
    }
    return l1;
  }

  /**
   * Runs a command inside; its standard streams and status come back.
   * @throws {ViaductError} LAB_FAILED when L1 hangs; a command that fails is a result
   */
  run(command: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const env = Object.entries({ PATH: this.path, HOME: "/root", ...options.env });
    const words = ["env", "-i", ...env.map(([name, value]) => `${name}=${value}`), ...command];
    const input = Buffer.from(options.stdin ?? "").toString("base64");
    const feed = options.stdin === undefined ? "" : `printf %s ${input} | base64 -d | `;
    const inner = `cd ${quote(options.cwd ?? process.cwd())} && ${feed}${words.map(quote).join(" ")}`;
    const script = `exec chroot /new /bin/sh -c ${quote(inner)}`;
    return this.#agent.run(script, options.timeoutMs ?? RUN_MS, options.onOutput);
  }

  /** As `run`, for a shell script. */
  shell(script: string, options: RunOptions = {}): Promise<RunResult> {
    return this.run(["/bin/sh", "-c", script], options);
  }

  /** As `shell`, where failure is a broken lab. @returns standard output, trimmed */
  async sh(script: string, options: RunOptions = {}): Promise<string> {
    const { status, stdout, stderr } = await this.shell(script, options);
    if (status === 0) return stdout.trim();
    throw new ViaductError("LAB_FAILED", `in L1: ${script}: status ${status}: ${stderr.trim()}`);
  }

  /** The search path inside: this machine's, with the running node first. */
  get path(): string {
    const system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    return `${dirname(process.execPath)}:${system}`;
  }

  qmp(command: string, args?: Record<string, unknown>): Promise<unknown> {
    return this.#qmp.execute(command, args);
  }

  /** A command of the human monitor. */
  async hmp(line: string): Promise<string> {
    return String(await this.#qmp.execute("human-monitor-command", { "command-line": line }));
  }

  /**
   * A block device over a raw file of this machine.
   * @param keep whether what L1 writes goes into the file; else into a layer that ends with L1
   */
  async drive(file: string, { keep = false } = {}): Promise<string> {
    this.#drives += 1;
    const id = `drive${this.#drives}`;
    const options = `if=none,id=${id},file=${option(file)},format=raw,snapshot=${keep ? "off" : "on"}`;
    const text = await this.hmp(`drive_add 0 "${options}"`);
    if (!/OK/.test(text)) throw new ViaductError("LAB_FAILED", `drive ${file}: ${text}`);
    return id;
  }

  /**
   * Hot-plugs a device below a free root port.
   * @param device     a name of zoo.ts, or QEMU's spelling: `nvme`, `virtio-net-pci,aer=on`
   * @param properties further properties; a `drive` with a slash in it is a file of this machine
   * @returns          its address in L1, once L1's kernel shows it
   */
  async plug(device: string, properties: Record<string, unknown> = {}): Promise<string> {
    const port = this.#machine.rootPorts.findIndex((_, index) => !this.#ports.has(index));
    if (port < 0) throw new ViaductError("LAB_FAILED", "no free root port left in L1");
    const id = String(properties["id"] ?? `dev${port}`);
    const all: Record<string, unknown> = { id, bus: `rp${port}`, ...properties };
    if (String(all["drive"] ?? "").includes("/"))
      all["drive"] = await this.drive(`${all["drive"]}`);
    const text = await this.hmp(`device_add "${deviceOption(zooDevice(device), all)}"`);
    if (text.trim() !== "") throw new ViaductError("LAB_FAILED", `${device}: ${text.trim()}`);
    const folder = `/sys/bus/pci/devices/${this.#machine.rootPorts[port]}`;
    const find = `
      for try in $(seq 500); do
        for found in ${folder}/0000:*.0; do
          [ -e $found/vendor ] && { basename $found; exit 0; }
        done
        usleep 20000
      done
      exit 1`;
    const { status, stdout } = await this.#agent.run(find, PLUG_MS);
    const address = stdout.trim();
    this.#ports.set(port, { id, address });
    if (status === 0) return address;
    throw new ViaductError("LAB_FAILED", `${device}: L1's kernel did not show it below rp${port}`);
  }

  /**
   * Unplugs what `plug` put in, as a person would pull it out, and waits until L1 has let go.
   * @param device its address in L1, or its `id`
   */
  async unplug(device: string): Promise<void> {
    const id = this.deviceId(device);
    await this.qmp("device_del", { id });
    await this.#qmp.event("DEVICE_DELETED", UNPLUG_MS, (data) => data["device"] === id);
    for (const [port, used] of this.#ports) if (used.id === id) this.#ports.delete(port);
  }

  /** The monitor's name for what `plug` put in, for `qmp` and `hmp`. */
  deviceId(device: string): string {
    const used = [...this.#ports.values()].find((each) => each.address === device);
    return used?.id ?? device;
  }

  /** Binds a function to vfio-pci by `driver_override`, as `viaduct bind` does. */
  async bindVfio(...addresses: readonly string[]): Promise<void> {
    for (const bdf of addresses) await this.sh(vfioBinding(bdf));
  }

  /** Waits for an event of the monitor that came after the last one taken. */
  event(name: string, timeoutMs: number): Promise<QmpEvent> {
    return this.#qmp.event(name, timeoutMs);
  }

  /** The socket of L1's second console, /dev/hvc0 inside. */
  get terminal(): string {
    return join(this.#folder, "terminal");
  }

  /** The process that emulates L1. */
  get pid(): number {
    return this.#process.pid!;
  }

  /** What L1's kernel printed on its console so far. */
  dmesg(): Promise<string> {
    return this.sh("dmesg");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = new Promise((done) => this.#process.once("exit", done));
    this.#agent[Symbol.dispose]();
    this.#monitor?.[Symbol.dispose]();
    this.#qmp[Symbol.dispose]();
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      this.#process.kill("SIGKILL");
      await gone;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #enterHostRoot(): Promise<void> {
    const { status, stderr } = await this.#agent.run(ENTER_HOST_ROOT, 30_000);
    if (status === 0) return;
    throw new ViaductError("LAB_FAILED", `L1 cannot mount this machine's files: ${stderr}`);
  }

  async #running(): Promise<void> {
    const deadline = Date.now() + BOOT_MS;
    for (;;) {
      const { status } = (await this.qmp("query-status")) as { status: string };
      if (status === "running") return;
      if (status === "paused" || status === "prelaunch") await this.qmp("cont");
      if (Date.now() > deadline) {
        throw new ViaductError("LAB_FAILED", `L1 is "${status}" after a restore`);
      }
      await delay(5);
    }
  }
}
