/** `viaduct run`: boots a guest, connects its serial port with the terminal, waits for its end. */

import type { HostTree } from "../host/tree.ts";
import type { Console, ConsoleCommand } from "../machine/console.ts";
import type { MachineEnd } from "../machine/life.ts";
import type { Machine } from "../machine/machine.ts";
import type { QmpServer } from "../machine/qmp/server.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { EXIT } from "./exit-status.ts";
import type { ParsedCommand } from "./parse-command.ts";
import { openRunEvents, type RunEvents } from "./run-events.ts";
import { type RunOptions, runRequest } from "./run-options.ts";
import { openSerial } from "./run-serial.ts";

export { command } from "./run-options.ts";

/** What a guest runs on, instead of this machine: a software host. */
export interface RunHost {
  readonly sys: Syscalls;
  readonly tree: HostTree;
  /** `MachineOptions.vcpuEntry` */
  readonly vcpuEntry?: URL;
}

/** @throws {ViaductError} what the host refused; it is then as it was before */
export async function run(parsed: ParsedCommand, host?: RunHost): Promise<number> {
  const request = runRequest(parsed);
  switch (request.kind) {
    case "device-help":
      return deviceHelp(request.driver);
    case "trace-help":
      process.stdout.write((await import("./run-trace.ts")).traceHelp());
      return EXIT.DONE;
    case "run":
      return runGuest(request.options, host);
  }
}

async function deviceHelp(driver: string): Promise<number> {
  const { deviceProperties } = await import("../machine/device-help.ts");
  process.stdout.write(`${driver} properties:\n`);
  for (const name of deviceProperties(driver)) process.stdout.write(`  ${name}\n`);
  return EXIT.DONE;
}

const note = (text: string): void => void process.stderr.write(`viaduct: ${text}\n`);

async function openTrace({ trace }: RunOptions): Promise<AsyncDisposable | undefined> {
  if (trace === undefined) return undefined;
  const { openRunTrace } = await import("./run-trace.ts");
  return openRunTrace(trace, note);
}

async function runGuest(options: RunOptions, host?: RunHost): Promise<number> {
  using events = openRunEvents(options.json);
  await using _trace = await openTrace(options);
  const { Machine } = await import("../machine/machine.ts");
  const { nativeSyscalls } = await import("../sys/native.ts");
  events.emit("loaded");
  await using serial = openSerial(options, events);
  let control: QmpServer | undefined;
  const machine = await Machine.create(host?.sys ?? nativeSyscalls(), {
    ...options,
    ...(host && { tree: host.tree }),
    ...(host?.vcpuEntry && { vcpuEntry: host.vcpuEntry }),
    serial: serial.sink,
    stayOnError: options.qmp !== undefined,
    onEvent: (event) => {
      if (event.type === "state") events.emit("run-state", { state: event.state });
      control?.tell(event);
    },
    onNote: note,
  });
  events.emit("created");
  const signals = onSignals(machine, events);
  let end: MachineEnd;
  let console: Console | undefined;
  try {
    if (options.qmp !== undefined) {
      control = await openControl(machine, options.qmp.path);
      if (options.qmp.wait) await Promise.race([control.firstClient, machine.ended]);
    }
    await machine.start();
    const { kernel, cpus, ramSize } = options;
    events.emit("started", { kernel, cpus, ramSize });
    if (options.serial.kind === "stdio") console = await openConsole(machine);
    end = await machine.ended;
  } finally {
    console?.[Symbol.dispose]();
    signals[Symbol.dispose]();
    await control?.[Symbol.asyncDispose]();
    await machine.close();
  }
  return report(end, machine, events);
}

async function openControl(machine: Machine, path: string): Promise<QmpServer> {
  const { QmpServer } = await import("../machine/qmp/server.ts");
  return QmpServer.open(machine, path);
}

/** Loaded after the guest runs: nobody types before that. */
async function openConsole(machine: Machine): Promise<Console> {
  const { Console, ESCAPE_HELP } = await import("../machine/console.ts");
  const commands: Record<ConsoleCommand, () => void> = {
    help: () => void process.stderr.write(`\r\n${ESCAPE_HELP.join("\r\n")}\r\n`),
    quit: () => machine.quit("host-ui"),
    "power-button": () => machine.pressPowerButton(),
    reset: () => void machine.reset("host-ui"),
  };
  return Console.open(process.stdin, {
    data: (bytes) => machine.type(bytes),
    command: (command) => commands[command](),
  });
}

/** SIGUSR2 asks for the exits so far; nothing listens to it when there are no events. */
function onSignals(machine: Machine, events: RunEvents): Disposable {
  const names = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const count = () => events.emit("exits", { exits: machine.exitCounters.snapshot() });
  if (events.listening) process.on("SIGUSR2", count);
  const quit = (name: NodeJS.Signals) => {
    note(`terminating on ${name}`);
    machine.quit("host-signal");
  };
  for (const name of names) process.on(name, quit);
  return {
    [Symbol.dispose]: () => {
      for (const name of names) process.off(name, quit);
      process.off("SIGUSR2", count);
    },
  };
}

function report(end: MachineEnd, machine: Machine, events: RunEvents): number {
  const failed = end.reason === "error" || end.reason === "triple-fault";
  const status = failed ? EXIT.GUEST_FAILED : EXIT.DONE;
  events.emit("exits", { exits: machine.exitCounters.snapshot() });
  const { reason, error } = end;
  events.emit("ended", { reason, status, ...(error && { message: error.message }) });
  if (error !== undefined) {
    note(error.message);
    process.stderr.write(`  next: ${error.nextStep}\n`);
  }
  return status;
}
