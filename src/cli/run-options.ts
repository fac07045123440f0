/** The options of `viaduct run`, spelled as QEMU spells them, and what they mean. */

import type { IrqchipMode } from "../kvm/irqchip.ts";
import type { DeviceOption } from "../machine/device-options.ts";
import {
  describeOptions,
  type OptionTable,
  type ParsedOptions,
  parseCount,
  parseDeviceOption,
  parseOptions,
  parseSize,
  usageError,
} from "./options.ts";

const HELP_COMMAND = "viaduct run --help";
const RAM_STEP = 2 ** 21;
const RAM_MIN = 2 ** 24;
/** Local APIC ids of one byte, one of which means all. */
const CPUS_MAX = 255;

const OPTIONS = {
  kernel: { value: "FILE", help: "Linux kernel to boot, a bzImage (required)" },
  initrd: { value: "FILE", help: "initial RAM disk" },
  append: { value: "TEXT", help: "kernel command line" },
  memory: {
    aliases: ["m"],
    value: "SIZE",
    help: "guest RAM: 512M, 6G; MiB without a suffix (512)",
  },
  cpus: { aliases: ["smp"], value: "N", help: "vCPUs (1)" },
  device: {
    value: "DEVICE",
    repeatable: true,
    help: [
      "add a device:",
      "  vfio-pci,host=BDF[,property=value...][,bus=ID,addr=SLOT]",
      "  pcie-root-port,id=ID[,property=value...]",
      "`--device vfio-pci,help` lists the properties",
    ].join("\n"),
  },
  serial: { value: "WHERE", help: "the guest's serial port: stdio (default), file:PATH or none" },
  "no-reboot": { help: "end instead of restarting when the guest reboots" },
  irqchip: { value: "MODE", help: "interrupt controllers in the kernel: full (default) or split" },
  json: {
    value: "FILE",
    optionalValue: true,
    help: "events as JSON, one a line, to FILE, or to stdout with\nthe guest's output among them",
  },
  help: { aliases: ["h"], help: "this text" },
} as const satisfies OptionTable;

export const RUN_HELP = `Usage: viaduct run --kernel FILE [option...]

Boots a Linux kernel as a KVM guest and gives it devices of this host.

Options (one dash or two; a value after a space or =):
${describeOptions(OPTIONS)}

Keys, when the serial port is stdio:
  Ctrl-a x   quit            Ctrl-a p   press the power button
  Ctrl-a r   reset           Ctrl-a h   help

Examples:
  viaduct run --kernel /boot/vmlinuz --initrd initrd.img --append console=ttyS0 -m 1G
  viaduct run --kernel vmlinuz --initrd initrd.img --append "console=ttyS0 quiet" \\
      -m 2G -smp 4 --device vfio-pci,host=0000:01:00.0
  viaduct run --kernel vmlinuz --device pcie-root-port,id=rp0 \\
      --device vfio-pci,host=01:00.0,bus=rp0 --json=events.ndjson

Exit status:
  0  the guest powered off, or rebooted with --no-reboot
  1  the host refused something
  2  wrong usage
  3  no permission
  4  device not found
  5  this host has no KVM or no VFIO
  6  the guest failed: triple fault with --no-reboot, internal error
`;

export type SerialOption =
  | { readonly kind: "stdio" }
  | { readonly kind: "none" }
  | { readonly kind: "file"; readonly path: string };

export interface RunOptions {
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly commandLine: string;
  readonly ramSize: number;
  readonly cpus: number;
  readonly irqchip: IrqchipMode;
  readonly devices: readonly DeviceOption[];
  readonly serial: SerialOption;
  readonly noReboot: boolean;
  /** Undefined: no events; "": to stdout. */
  readonly json: string | undefined;
}

/** "help", or the driver whose properties are asked for, or what to run. */
export type RunRequest =
  | { readonly kind: "help" }
  | { readonly kind: "device-help"; readonly driver: string }
  | { readonly kind: "run"; readonly options: RunOptions };

/** @throws {ViaductError} USAGE */
export function parseRunOptions(args: readonly string[]): RunRequest {
  const parsed = parseOptions(args, OPTIONS, HELP_COMMAND);
  const last = (name: keyof typeof OPTIONS) => parsed.values.get(name)?.at(-1);
  if (last("help") !== undefined) return { kind: "help" };
  const devices = (parsed.values.get("device") ?? []).map(parseDeviceOption);
  const asked = devices.find(({ properties }) => properties.has("help"));
  if (asked !== undefined) return { kind: "device-help", driver: asked.driver };
  const kernel = last("kernel");
  refusePositional(parsed);
  if (kernel === undefined) {
    throw usageError("no kernel: --kernel is missing", `See ${HELP_COMMAND}.`);
  }
  const options: RunOptions = {
    kernel,
    initrd: last("initrd"),
    commandLine: last("append") ?? "",
    ramSize: parseRam(last("memory") ?? "512M"),
    cpus: parseCpus(last("cpus") ?? "1"),
    irqchip: parseIrqchip(last("irqchip") ?? "full"),
    devices,
    serial: parseSerial(last("serial") ?? "stdio"),
    noReboot: last("no-reboot") !== undefined,
    json: last("json"),
  };
  return { kind: "run", options };
}

function refusePositional({ positional }: ParsedOptions): void {
  if (positional.length === 0) return;
  throw usageError(`${positional[0]}: unexpected argument`, `See ${HELP_COMMAND}.`);
}

function parseRam(text: string): number {
  const size = parseSize("--memory", text.replace(/^size=/, ""));
  if (size < RAM_MIN) throw usageError(`--memory ${text}: too little`, "Give at least 16M.");
  if (size % RAM_STEP !== 0) {
    throw usageError(`--memory ${text}: not a multiple of 2 MiB`, "Round it.");
  }
  return size;
}

function parseCpus(text: string): number {
  return parseCount("--cpus", text.replace(/^cpus=/, ""), 1, CPUS_MAX);
}

function parseIrqchip(text: string): IrqchipMode {
  if (text === "full" || text === "split") return text;
  throw usageError(`--irqchip ${text}: no such mode`, "Choose full or split.");
}

function parseSerial(text: string): SerialOption {
  if (text === "stdio" || text === "none") return { kind: text };
  if (text.startsWith("file:") && text.length > 5) return { kind: "file", path: text.slice(5) };
  throw usageError(`--serial ${text}: no such place`, "Choose stdio, file:PATH or none.");
}
