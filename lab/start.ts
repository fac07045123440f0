/**
 * `npm start`: the main job, on real kernels. An unmodified Debian kernel boots as a guest of
 * Viaduct, its own NVMe driver reads and writes a disk that was assigned to it through VFIO, and a
 * short report says what it saw and did. Without arguments the host is the lab's L1; with
 * `--device BDF` it is this machine, and the device one of its own.
 */

import { spawn } from "node:child_process";
import { parseArgs } from "node:util";
import { ViaductError } from "../src/sys/sys-error.ts";
import { GUEST_PARAMETERS, guestInitrd, guestLines } from "./guest.ts";
import { JOBS } from "./guest-jobs.ts";
import { type GuestRun, retryCount, runViaduct, said, viaductCommand } from "./guest-run.ts";
import { type Kernel, kernel } from "./kernel.ts";
import { L1 } from "./l1.ts";
import { progress } from "./progress.ts";
import { ScratchDisk } from "./scratch-disk.ts";

const HELP = `usage: npm start [-- --device BDF] [-- --disk MIB]

Boots an unmodified Debian kernel as a guest and gives it a device through VFIO.

  --device BDF  a device of this machine, bound to vfio-pci; uses its /dev/vfio and /dev/kvm.
                Without it, the lab brings up an emulated host that has both.
  --disk MIB    size of the lab's NVMe disk (256)
`;

const MEMORY = "512M";
const EVENTS = "/tmp/viaduct-events.ndjson";

interface Exits {
  readonly inThread: number;
  readonly forwarded: number;
}

/** Sums the exit counters that the run's last event carries. */
function exitTotals(events: string): string {
  const ended = events
    .split("\n")
    .filter((line) => line.includes('"exits"'))
    .at(-1);
  if (ended === undefined) return "not counted";
  const { exits } = JSON.parse(ended) as { exits: Record<string, Exits> };
  const sum = (way: keyof Exits) =>
    Object.values(exits).reduce((total, one) => total + one[way], 0);
  return `${sum("inThread")} answered in the vCPU's thread, ${sum("forwarded")} forwarded`;
}

function line(name: string, text: string): void {
  process.stdout.write(`  ${name.padEnd(12)}${text}\n`);
}

/** Shows what the guest says as it says it; its console arrives in pieces of any size. */
function showLines(): (text: string) => void {
  let left = "";
  return (text) => {
    const end = (left + text).lastIndexOf("\n") + 1;
    for (const each of guestLines((left + text).slice(0, end))) progress(`guest: ${each}`);
    left = (left + text).slice(end);
  };
}

/** The lines every guest says about itself. */
function reportGuest(run: GuestRun): void {
  const memory = Math.round(Number(said(run, "memory")) / 1024);
  line("guest", `Linux ${said(run, "kernel")}, ${said(run, "cpus")} vCPU, ${memory} MiB`);
  for (const seen of run.lines.filter((each) => each.startsWith("pci "))) {
    line("", seen.replace(/^pci /, "").replace("driver=", "driver "));
  }
}

function reportInterrupts(run: GuestRun): void {
  for (const each of run.lines.filter((one) => /^irq .*nvme/.test(one))) {
    const [, count, name] = /^irq \d+:\s+(\d+).*\s(nvme\S+)$/.exec(each) ?? [];
    line("interrupts", `${name}: ${count} by MSI-X`);
  }
}

async function inLab(stock: Kernel, diskMib: number): Promise<number> {
  using disk = new ScratchDisk(diskMib);
  await using l1 = await L1.start({ kernel: "debian", memoryMib: 2048 });
  const bdf = await l1.plug("nvme", { drive: await l1.drive(disk.path), serial: "viaduct" });
  await l1.bindVfio(bdf);
  const group = await l1.sh(`basename $(readlink /sys/bus/pci/devices/${bdf}/iommu_group)`);
  progress(`L1 is up: ${bdf} is bound to vfio-pci, IOMMU group ${group}; starting the guest`);
  const run = await runViaduct(l1, {
    bzImage: stock.bzImage,
    initrd: await guestInitrd(stock, JOBS.nvme),
    append: GUEST_PARAMETERS,
    memory: MEMORY,
    devices: ["pcie-root-port,id=rp0,chassis=1", `vfio-pci,host=${bdf},bus=rp0`],
    extra: [`--json=${EVENTS}`],
    onConsole: showLines(),
  });
  const equal = said(run, "sha256") === disk.sha256;
  const readback = said(run, "readback");
  process.stdout.write("\nA guest used a device that was assigned to it.\n\n");
  line("host", `Linux ${await l1.sh("uname -r")} with its own VFIO and KVM, under emulation`);
  line("device", `${bdf} NVMe, IOMMU group ${group}, driver vfio-pci`);
  reportGuest(run);
  line(
    "read",
    `${diskMib} MiB, SHA-256 ${equal ? "equals the host's" : "DIFFERS from the host's"}`,
  );
  line("wrote", `4 MiB, read back ${readback}`);
  reportInterrupts(run);
  line("exits", exitTotals(await l1.sh(`cat ${EVENTS}`)));
  line("ended", `powered off, exit status ${run.status}; started again ${retryCount()} times`);
  return equal && readback === "equal" && run.status === 0 ? 0 : 1;
}

/** The same guest on this machine's KVM, with one of its devices. */
async function onThisMachine(stock: Kernel, bdf: string): Promise<number> {
  const [program, ...args] = viaductCommand({
    bzImage: stock.bzImage,
    initrd: await guestInitrd(stock, JOBS.boot),
    append: GUEST_PARAMETERS,
    memory: MEMORY,
    devices: ["pcie-root-port,id=rp0,chassis=1", `vfio-pci,host=${bdf},bus=rp0`],
  });
  const child = spawn(program!, args, { stdio: ["inherit", "pipe", "inherit"] });
  let console = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    console += text;
  });
  const started = Date.now();
  const status = await new Promise<number>((done) =>
    child.once("close", (code) => done(code ?? 1)),
  );
  if (status !== 0) return status; // viaduct run has said why
  const milliseconds = Date.now() - started;
  const run = { status, lines: guestLines(console), console, stderr: "", milliseconds };
  process.stdout.write("\nA guest saw a device that was assigned to it.\n\n");
  line("device", `${bdf} of this machine, driver vfio-pci`);
  reportGuest(run);
  line("ended", `powered off after ${(milliseconds / 1000).toFixed(1)} s`);
  return 0;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      device: { type: "string" },
      disk: { type: "string", default: "256" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const stock = await kernel("debian");
  if (values.device !== undefined) return onThisMachine(stock, values.device);
  return inLab(stock, Number(values.disk));
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof ViaductError)) throw error;
  process.stderr.write(`viaduct: ${error.message}\n`);
  if (error.nextStep !== undefined) process.stderr.write(`  next: ${error.nextStep}\n`);
  process.exitCode = 1;
}
