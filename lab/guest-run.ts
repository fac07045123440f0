/**
 * Runs `viaduct run`, or QEMU with the same meaning, inside L1, and reads what the guest said. The
 * same guest on the same device under both is what tests and benchmarks compare.
 */

import { resolve } from "node:path";
import { ViaductError } from "../src/sys/sys-error.ts";
import { guestLines } from "./guest.ts";
import type { L1 } from "./l1.ts";
import { progress } from "./progress.ts";
import { qemuCommand, qemuPrefix } from "./qemu.ts";

const root = resolve(import.meta.dirname, "../..");

export interface GuestRunOptions {
  readonly bzImage: string;
  readonly initrd: string;
  readonly append: string;
  readonly memory?: string;
  readonly cpus?: number;
  /** `-device` values, as both spell them. */
  readonly devices?: readonly string[];
  readonly extra?: readonly string[];
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  /** Sees the guest's console as it comes. */
  readonly onConsole?: (text: string) => void;
}

export interface GuestRun {
  readonly status: number;
  /** What the guest said to the host's side, mark removed. */
  readonly lines: readonly string[];
  readonly console: string;
  readonly stderr: string;
  readonly milliseconds: number;
}

/** Of a guest that asks for none. */
const MEMORY = "256M";
const GUEST_MS = 120_000;
/** The status of a command that the agent killed at its time limit. */
const TIMED_OUT = 137;

/** How often an emulated guest did not come up and was started again. */
let retries = 0;

export function retryCount(): number {
  return retries;
}

export function viaductCommand(options: GuestRunOptions): string[] {
  const { bzImage, initrd, append, memory = MEMORY, cpus = 1, devices = [], extra = [] } = options;
  return [
    ...["node", `${root}/bin/viaduct.js`, "run", "--kernel", bzImage, "--initrd", initrd],
    ...["--append", append, "--memory", memory, "--cpus", String(cpus)],
    ...devices.flatMap((device) => ["--device", device]),
    ...extra,
  ];
}

export async function qemuCommandInside(options: GuestRunOptions): Promise<string[]> {
  const { bzImage, initrd, append, memory = MEMORY, cpus = 1, devices = [], extra = [] } = options;
  const { program, args, env } = qemuCommand(await qemuPrefix(), [
    ...["-accel", "kvm", "-machine", "q35", "-cpu", "host", "-m", memory, "-smp", String(cpus)],
    ...["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"],
    ...["-kernel", bzImage, "-initrd", initrd, "-append", append],
    ...devices.flatMap((device) => ["-device", device]),
    ...extra,
  ]);
  const words = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  return ["env", ...words, program, ...args];
}

async function attempt(l1: L1, command: string[], options: GuestRunOptions): Promise<GuestRun> {
  const started = Date.now();
  const { onConsole, stdin, env } = options;
  const result = await l1.run(command, {
    timeoutMs: options.timeoutMs ?? GUEST_MS,
    ...(stdin === undefined ? {} : { stdin }),
    ...(env === undefined ? {} : { env }),
    onOutput: (stream, text) => void (stream === "stdout" && onConsole?.(text)),
  });
  return {
    status: result.status,
    lines: guestLines(result.stdout),
    console: result.stdout,
    stderr: result.stderr,
    milliseconds: Date.now() - started,
  };
}

/** A guest that printed nothing at all was lost by the emulation: it is started once more. */
async function withRetry(l1: L1, command: string[], options: GuestRunOptions): Promise<GuestRun> {
  const run = await attempt(l1, command, options);
  if (run.status !== TIMED_OUT || run.console.trim() !== "") return run;
  retries += 1;
  progress(`the guest printed nothing; starting it once more (retry ${retries})`);
  return attempt(l1, command, options);
}

/** Runs a guest under Viaduct in L1. A guest that fails is a result, not an error. */
export function runViaduct(l1: L1, options: GuestRunOptions): Promise<GuestRun> {
  return withRetry(l1, viaductCommand(options), options);
}

/** Runs the same guest under QEMU in L1. */
export async function runQemu(l1: L1, options: GuestRunOptions): Promise<GuestRun> {
  return withRetry(l1, await qemuCommandInside(options), options);
}

/** The rest of the one line that starts with `name`. @throws when the guest did not say it */
export function said(run: GuestRun, name: string): string {
  const line = run.lines.find((each) => each.startsWith(`${name} `));
  if (line !== undefined) return line.slice(name.length + 1);
  const seen = `${run.console}\n${run.stderr}`.slice(-3000);
  throw new ViaductError(
    "LAB_FAILED",
    `the guest did not say "${name}" (status ${run.status}); the end of what was printed:\n${seen}`,
  );
}
