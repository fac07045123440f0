#!/usr/bin/env node
/**
 * `npm run lab -- VERB`: the lab from the command line. `run` brings L1 up, runs one command in it
 * and ends with the command's status.
 */

import { spawnSync } from "node:child_process";
import { parseArgs } from "node:util";
import { ViaductError } from "../src/sys/sys-error.ts";
import { cacheDirectory } from "./cache.ts";
import { cleanCache, describeCache } from "./cache-contents.ts";
import { type KernelName, kernel } from "./kernel.ts";
import { L1, type L1Options } from "./l1.ts";
import { l1Machine } from "./l1-command.ts";
import { openTerminal } from "./shell.ts";
import { snapshotPath } from "./snapshot.ts";
import { TOPOLOGIES, ZOO, type ZooEntry } from "./zoo.ts";

const HELP = `usage: npm run lab -- VERB [OPTION...]

Boots a machine with a real VFIO kernel, L1, under QEMU's emulation. The first start downloads
QEMU and builds the kernel (minutes); later ones restore L1 from a snapshot (about a second).

  run [OPTION...] -- COMMAND...   runs a command in L1; its output and status come back
  shell [OPTION...]               a shell in L1; end it with "exit"
  up [OPTION...]                  brings L1 up, says what is in it, and ends
  prepare [--kernel NAME]         downloads and builds what the first start needs
  status                          what the cache holds
  clean [--all]                   removes snapshots and remembered package choices; --all: all
  devices                         the devices and topologies that have names

options of run, shell and up:
  --kernel lab|debian       Linux 7.3 with all of VFIO, built once (default), or Debian's 6.12
  --device NAME[,KEY=VALUE...]
                            hot-plugs a device and binds it to vfio-pci; may be repeated. NAME is
                            one of "devices" or QEMU's; nvme wants drive=FILE,serial=TEXT.
                            Their addresses are in $VIADUCT_DEVICES inside
  --no-bind                 leaves the devices with L1's own drivers
  --cold DEVICE             a QEMU -device value that is there from the start, or a topology's
                            name; L1 then boots, which takes some seconds
  --memory MIB              default 2048
  --cpus N                  default 1
  --iommu intel|virtio|none default intel
  --timeout SECONDS         limit for the command; default 600
  --here                    "run" only: runs the command on this machine, which has KVM and VFIO
                            of its own (also: VIADUCT_LAB=host)

Cache: ${cacheDirectory()} ($VIADUCT_CACHE). docs/lab.md says more.
`;

const OPTIONS = {
  kernel: { type: "string", default: "lab" },
  device: { type: "string", multiple: true, default: [] as string[] },
  "no-bind": { type: "boolean", default: false },
  cold: { type: "string", multiple: true, default: [] as string[] },
  memory: { type: "string" },
  cpus: { type: "string" },
  iommu: { type: "string" },
  timeout: { type: "string", default: "600" },
  here: { type: "boolean", default: false },
  all: { type: "boolean", default: false },
  help: { type: "boolean", short: "h", default: false },
} as const;

const parse = (args: readonly string[]) =>
  parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });

type Values = ReturnType<typeof parse>["values"];

function usage(message: string): ViaductError {
  return new ViaductError("USAGE", message, { nextStep: "npm run lab -- --help" });
}

function choice<T extends string>(name: string, value: string, all: readonly T[]): T {
  const found = all.find((each) => each === value);
  if (found !== undefined) return found;
  throw usage(`--${name} ${value}: choose one of ${all.join(", ")}`);
}

function count(name: string, value: string): number {
  if (/^[1-9]\d*$/.test(value)) return Number(value);
  throw usage(`--${name} ${value}: not a number`);
}

const kernelName = (values: Values): KernelName =>
  choice("kernel", values.kernel, ["lab", "debian"]);

function coldDevices(names: readonly string[]): string[] {
  const known = TOPOLOGIES as Record<string, { readonly devices: readonly string[] }>;
  return names.flatMap((name) => known[name]?.devices ?? [name]);
}

function l1Options(values: Values): L1Options {
  const { memory, cpus, iommu, cold } = values;
  return {
    kernel: kernelName(values),
    ...(memory === undefined ? {} : { memoryMib: count("memory", memory) }),
    ...(cpus === undefined ? {} : { cpus: count("cpus", cpus) }),
    ...(iommu === undefined ? {} : { iommu: choice("iommu", iommu, ["intel", "virtio", "none"]) }),
    ...(cold.length === 0 ? {} : { devices: coldDevices(cold) }),
  };
}

/** `nvme,drive=/x.img,serial=1` as a name and properties. */
export function deviceWords(text: string): { name: string; properties: Record<string, string> } {
  const [name, ...words] = text.split(",");
  const properties = words.map((word) => {
    const equals = word.indexOf("=");
    return equals < 0 ? [word, "on"] : [word.slice(0, equals), word.slice(equals + 1)];
  });
  return { name: name!, properties: Object.fromEntries(properties) as Record<string, string> };
}

async function plugAll(l1: L1, values: Values): Promise<string[]> {
  const addresses: string[] = [];
  for (const text of values.device) {
    const { name, properties } = deviceWords(text);
    const address = await l1.plug(name, properties);
    process.stderr.write(`lab: ${name} is ${address} in L1\n`);
    addresses.push(address);
  }
  if (!values["no-bind"]) await l1.bindVfio(...addresses);
  return addresses;
}

async function run(values: Values, command: readonly string[]): Promise<number> {
  const [program, ...args] = command;
  if (program === undefined) throw usage("run: which command?");
  if (values.here || process.env["VIADUCT_LAB"] === "host") {
    return spawnSync(program, args, { stdio: "inherit" }).status ?? 1;
  }
  await using l1 = await L1.start(l1Options(values));
  const addresses = await plugAll(l1, values);
  const { status, timedOut } = await l1.run(command, {
    env: { VIADUCT_DEVICES: addresses.join(" ") },
    timeoutMs: count("timeout", values.timeout) * 1000,
    onOutput: (stream, text) => void process[stream].write(text),
  });
  if (timedOut) process.stderr.write(`lab: ended after ${values.timeout} s (--timeout)\n`);
  return status;
}

async function shell(values: Values): Promise<number> {
  await using l1 = await L1.start(l1Options(values));
  const addresses = await plugAll(l1, values);
  return await openTerminal(l1, addresses);
}

const CONTENTS = `
uname -sr
ls /dev/kvm /dev/iommu /dev/vfio/vfio 2>/dev/null
for device in /sys/bus/pci/devices/*; do
  driver=-
  [ -e $device/driver ] && driver=$(basename $(readlink $device/driver))
  group=-
  [ -e $device/iommu_group ] && group=$(basename $(readlink $device/iommu_group))
  echo "$(basename $device) $(cat $device/vendor):$(cat $device/device) group $group driver $driver"
done`;

async function up(values: Values): Promise<number> {
  const started = Date.now();
  await using l1 = await L1.start(l1Options(values));
  const milliseconds = Date.now() - started;
  await plugAll(l1, values);
  process.stdout.write(`${await l1.sh(CONTENTS)}\n`);
  process.stderr.write(`lab: L1 was up after ${(milliseconds / 1000).toFixed(2)} s\n`);
  return 0;
}

async function prepare(values: Values): Promise<number> {
  const machine = await l1Machine({ kernel: await kernel(kernelName(values)) });
  await snapshotPath(machine);
  process.stdout.write(describeCache());
  return 0;
}

function devices(): number {
  const rows = Object.entries(ZOO).map(([name, entry]: [string, ZooEntry]) => {
    const [intx, msi, msix] = entry.irqs;
    const wants = entry.wants === undefined ? "" : `wants ${entry.wants}`;
    const notes = [entry.cold ? "--cold" : "", wants, entry.note ?? ""].filter((each) => each);
    const count = (value: number): string => String(value || "-").padStart(6);
    return `${name.padEnd(15)}${count(intx)}${count(msi)}${count(msix)}  ${notes.join("; ")}`;
  });
  rows.unshift(`${"".padEnd(15)}  INTx   MSI MSI-X`);
  const topologies = Object.entries(TOPOLOGIES).map(([name, { what }]) => name.padEnd(16) + what);
  process.stdout.write(`${rows.join("\n")}\n\ntopologies, for --cold:\n${topologies.join("\n")}\n`);
  return 0;
}

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(args);
  const [verb, ...rest] = positionals;
  if (values.help || verb === undefined) {
    process.stdout.write(HELP);
    return values.help ? 0 : 2;
  }
  if (verb !== "run" && rest.length > 0) throw usage(`${verb}: unexpected "${rest.join(" ")}"`);
  switch (verb) {
    case "run":
      return run(values, rest);
    case "shell":
      return shell(values);
    case "up":
      return up(values);
    case "prepare":
      return prepare(values);
    case "devices":
      return devices();
    case "status":
      process.stdout.write(describeCache());
      return 0;
    case "clean":
      process.stdout.write(cleanCache(values.all));
      return 0;
    default:
      throw usage(`no verb "${verb}"`);
  }
}

function explain(error: unknown): number {
  if (error instanceof ViaductError) {
    const { message, nextStep, code } = error;
    process.stderr.write(`lab: ${message}\n${nextStep === undefined ? "" : `  ${nextStep}\n`}`);
    return code === "USAGE" ? 2 : 1;
  }
  if ((error as NodeJS.ErrnoException).code?.startsWith("ERR_PARSE_ARGS")) {
    process.stderr.write(`lab: ${(error as Error).message}\n  npm run lab -- --help\n`);
    return 2;
  }
  throw error;
}

if (process.argv[1] === import.meta.filename) {
  process.exitCode = await main(process.argv.slice(2)).catch(explain);
}
