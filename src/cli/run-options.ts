/** The options of `viaduct run`, spelled as QEMU spells them, and what they mean. */

import type { IrqchipMode } from "../kvm/irqchip.ts";
import type { DeviceOption } from "../machine/device-options.ts";
import type { CommandDefinition } from "./command.ts";
import { parseCount, parseDeviceOption, parseSize, usageError } from "./options.ts";
import { type ParsedCommand, usage } from "./parse-command.ts";
import { parseTraceOptions, type TraceOptions } from "./trace-options.ts";

const RAM_STEP = 2 ** 21;
const RAM_MIN = 2 ** 24;
/** Local APIC ids of one byte, one of which means all. */
const CPUS_MAX = 255;

export const command: CommandDefinition = {
  name: "run",
  spelling: "qemu",
  summary: "boot a guest and give it devices of this host",
  description: [
    `Boots a Linux kernel as a KVM guest. Each device must be bound to vfio-pci or a variant of it,
    with every other device of its IOMMU group bound to a VFIO driver or to none ("viaduct bind
    --group"). An option takes one dash or two; its value follows after a space or "=".`,
  ],
  operands: [],
  options: [
    {
      flags: ["--kernel"],
      value: "FILE",
      about: "Linux kernel to boot, a bzImage (required)",
      offers: "file",
    },
    { flags: ["--initrd"], value: "FILE", about: "initial RAM disk", offers: "file" },
    { flags: ["--append"], value: "TEXT", about: "kernel command line" },
    {
      flags: ["--memory", "-m"],
      value: "SIZE",
      about: "guest RAM: 512M, 6G; MiB without a suffix (512)",
    },
    { flags: ["--cpus", "-smp"], value: "N", about: "vCPUs (1)" },
    {
      flags: ["--device"],
      value: "DEVICE",
      repeatable: true,
      about: `add a device: vfio-pci,host=BDF[,property=value...][,bus=ID,addr=SLOT],
        pcie-root-port,id=ID[,property=value...] or pcie-pci-bridge,id=ID[,bus=ID];
        "--device vfio-pci,help" lists the properties`,
      offers: "device option",
    },
    {
      flags: ["--serial"],
      value: "WHERE",
      about: "the guest's serial port: stdio (default), file:PATH or none",
      offers: ["stdio", "file:", "none"],
    },
    { flags: ["--no-reboot"], about: "end instead of restarting when the guest reboots" },
    {
      flags: ["--irqchip"],
      value: "MODE",
      about: "interrupt controllers in the kernel: full (default) or split",
      offers: ["full", "split"],
    },
    {
      flags: ["--qmp"],
      value: "SOCKET",
      about: `control socket, a Unix socket that speaks QEMU's machine protocol:
        unix:PATH[,server=on][,wait=on|off]; with wait=on the guest starts when a client has come`,
      offers: ["unix:"],
    },
    {
      flags: ["--json"],
      value: "FILE",
      optionalValue: true,
      about: `events as JSON, one a line, to FILE, or to standard output with the guest's output
        among them`,
      offers: "file",
    },
    {
      flags: ["--trace"],
      value: "PATTERN",
      repeatable: true,
      about: `print trace events to standard error: vfio_*, vfio_region_read, or as
        [enable=]PATTERN[,events=FILE][,file=FILE]; "--trace help" lists them`,
      offers: ["help", "vfio_*"],
    },
    {
      flags: ["--trace-json"],
      value: "FILE",
      about: "trace events as JSON, one a line, to FILE",
      offers: "file",
    },
  ],
  sections: [
    {
      title: "Keys, when the serial port is the terminal",
      lines: [
        "Ctrl-a x   quit            Ctrl-a p   press the power button",
        "Ctrl-a r   reset           Ctrl-a h   help",
      ],
    },
  ],
  examples: [
    {
      about: "a guest on the terminal",
      line: "viaduct run --kernel vmlinuz --initrd initrd.img --append console=ttyS0 -m 1G",
    },
    {
      about: "with a graphics card's two functions",
      line:
        "viaduct run --kernel vmlinuz -m 4G -smp 4 --device vfio-pci,host=01:00.0" +
        " --device vfio-pci,host=01:00.1",
    },
    {
      about: "below a root port, with events in a file",
      line:
        "viaduct run --kernel vmlinuz --device pcie-root-port,id=rp0" +
        " --device vfio-pci,host=01:00.0,bus=rp0 --json=events.ndjson",
    },
  ],
  exitStatus: [
    [0, "the guest powered off, or rebooted with --no-reboot"],
    [1, "the host refused something"],
    [2, "the command line was wrong"],
    [3, "no permission"],
    [4, "device not found"],
    [5, "this host has no KVM or no VFIO"],
    [6, "the guest failed: triple fault with --no-reboot, internal error"],
  ],
};

export type SerialOption =
  | { readonly kind: "stdio" }
  | { readonly kind: "none" }
  | { readonly kind: "file"; readonly path: string };

export interface QmpOption {
  readonly path: string;
  /** The guest starts when a client has connected. */
  readonly wait: boolean;
}

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
  readonly qmp: QmpOption | undefined;
  /** Undefined: no events; "": to stdout. */
  readonly json: string | undefined;
  readonly trace: TraceOptions | undefined;
}

/** A list that is asked for, or what to run. */
export type RunRequest =
  | { readonly kind: "trace-help" }
  | { readonly kind: "device-help"; readonly driver: string }
  | { readonly kind: "run"; readonly options: RunOptions };

/** @throws {ViaductError} USAGE */
export function runRequest(parsed: ParsedCommand): RunRequest {
  const devices = parsed.values("--device").map(parseDeviceOption);
  const asked = devices.find(({ properties }) => properties.has("help"));
  if (asked !== undefined) return { kind: "device-help", driver: asked.driver };
  const trace = parseTraceOptions(parsed.values("--trace"), parsed.value("--trace-json"));
  if (trace === "help") return { kind: "trace-help" };
  const kernel = parsed.value("--kernel");
  if (kernel === undefined) throw usage(command, "no kernel: --kernel is missing");
  const options: RunOptions = {
    kernel,
    initrd: parsed.value("--initrd"),
    commandLine: parsed.value("--append") ?? "",
    ramSize: parseRam(parsed.value("--memory") ?? "512M"),
    cpus: parseCpus(parsed.value("--cpus") ?? "1"),
    irqchip: parseIrqchip(parsed.value("--irqchip") ?? "full"),
    devices,
    serial: parseSerial(parsed.value("--serial") ?? "stdio"),
    noReboot: parsed.has("--no-reboot"),
    qmp: parseQmp(parsed.value("--qmp")),
    json: parsed.value("--json"),
    trace,
  };
  return { kind: "run", options };
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

/** As QEMU's: who says `server=on` and nothing of `wait` waits for a client. */
function parseQmp(text: string | undefined): QmpOption | undefined {
  if (text === undefined) return undefined;
  const refuse = (why: string) =>
    usageError(`--qmp ${text}: ${why}`, "Write unix:PATH,server=on,wait=off");
  const [socket = "", ...parts] = text.split(",");
  const path = /^unix:(.+)$/.exec(socket)?.[1];
  if (path === undefined) throw refuse("not a Unix socket");
  const given = new Map<string, boolean>();
  for (const part of parts) {
    const [, name, value = "on"] = /^(server|wait)(?:=(on|off))?$/.exec(part) ?? [];
    if (name === undefined) throw refuse(`cannot take ${part}`);
    given.set(name, value === "on");
  }
  if (given.get("server") === false) throw refuse("the socket is always a server's");
  return { path, wait: given.get("wait") ?? given.has("server") };
}
