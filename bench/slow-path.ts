/**
 * What a guest's access costs that a monitor must answer, under Viaduct and under QEMU in the same
 * L1: the same guest program (`slow-path.c`) on devices of the same kind, by turns. Reading order:
 * here, `guest-turns.ts`, `slow-path.c`. docs/benchmarks.md explains every line.
 *
 *     npm run bench -- slow-path [--rounds=8] [--kernel=debian|lab] [--only=bar-read,...] [--json]
 */

import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { GUEST_PARAMETERS, guestInitrd } from "../lab/guest.ts";
import type { GuestRunOptions } from "../lab/guest-run.ts";
import { type Kernel, kernel } from "../lab/kernel.ts";
import { L1 } from "../lab/l1.ts";
import { compiled } from "./compiled.ts";
import {
  ANSWER_COMMANDS,
  byTurns,
  type Monitor,
  type PairedRatio,
  pairedRatio,
  type Round,
} from "./guest-turns.ts";
import { kernelToMeasure } from "./lab-kernel.ts";

interface Kind {
  readonly name: string;
  readonly what: string;
  /** The guest's argument, its device (bus number in the guest), and how many. */
  readonly kind: string;
  readonly bus: number;
  readonly count: number;
}

/** Buses of the guest, below its root ports in order. */
const NVME = 1;
const EDU_IRQFD = 2;
const EDU_USER = 3;

const KINDS: readonly Kind[] = [
  { name: "bar-read", what: "BAR read, x-no-mmap", kind: "bar-read", bus: NVME, count: 1000 },
  { name: "bar-write", what: "BAR write, x-no-mmap", kind: "bar-write", bus: NVME, count: 1000 },
  { name: "ecam", what: "config read, ECAM", kind: "config-read-ecam", bus: NVME, count: 1000 },
  { name: "cf8", what: "config read, CF8", kind: "config-read-cf8", bus: NVME, count: 500 },
  { name: "config-write", what: "config write", kind: "config-write", bus: NVME, count: 1500 },
  { name: "msix", what: "MSI-X mask and unmask", kind: "msix-mask", bus: NVME, count: 400 },
  { name: "intx", what: "INTx round trip, irqfd", kind: "intx", bus: EDU_IRQFD, count: 200 },
  { name: "intx-user", what: "INTx, x-no-kvm-intx", kind: "intx", bus: EDU_USER, count: 60 },
];

/** The goal, and from where on the reason must be written down. */
const GOAL = 1.0;
const LIMIT = 2.0;
const ROUND_LIMIT_MS = 60_000;
const RAM_MIB = 256;
const DISK_BYTES = 16 * 2 ** 20;

/** Drivers keep away from the NVMe controller; the other two are a user-space driver's. */
const JOB = `
for device in /sys/bus/pci/devices/*; do
  [ -e $device/driver ] && case $(readlink $device/driver) in
    */nvme) echo $(basename $device) > $device/driver/unbind ;;
  esac
done
echo 1234 11e8 > /sys/bus/pci/drivers/uio_pci_generic/new_id
echo 1 > /sys/bus/pci/devices/0000:01:00.0/enable
${ANSWER_COMMANDS}`;

interface Result extends PairedRatio {
  readonly name: string;
  readonly what: string;
}

function guest(kernelFiles: Kernel, initrd: string, devices: readonly string[]): GuestRunOptions {
  const options = ["x-no-mmap=on", "", "x-no-kvm-intx=on"];
  return {
    bzImage: kernelFiles.bzImage,
    initrd,
    append: `${GUEST_PARAMETERS} iomem=relaxed`,
    memory: `${RAM_MIB}M`,
    devices: devices.flatMap((bdf, at) => [
      `pcie-root-port,id=rp${at},chassis=${at + 1}`,
      [`vfio-pci,host=${bdf}`, options[at], `bus=rp${at}`].filter(Boolean).join(","),
    ]),
  };
}

/** Each monitor has devices of its own. */
async function plugDevices(l1: L1, disk: string): Promise<string[]> {
  const nvme = await l1.plug("nvme", { drive: await l1.drive(disk), serial: "slow-path" });
  const devices = [nvme, await l1.plug("edu"), await l1.plug("edu")];
  await l1.bindVfio(...devices);
  return devices;
}

async function measure(name: "lab" | "debian", kinds: readonly Kind[], rounds: number) {
  const folder = mkdtempSync(join(tmpdir(), "viaduct-bench-"));
  try {
    const disk = join(folder, "nvme.img");
    const fd = openSync(disk, "w");
    ftruncateSync(fd, DISK_BYTES);
    closeSync(fd);
    const files = await kernel(name);
    const drivers = ["uio_pci_generic"];
    const programs = [await compiled("slow-path")];
    const initrd = await guestInitrd(files, { drivers, programs, script: JOB });
    await using l1 = await L1.start({ kernel: name });
    const guests: Record<Monitor, GuestRunOptions> = {
      viaduct: guest(files, initrd, await plugDevices(l1, disk)),
      qemu: guest(files, initrd, await plugDevices(l1, disk)),
    };
    const commands = Array.from({ length: rounds }, () =>
      kinds.map(({ kind, bus, count }) => {
        const device = `/sys/bus/pci/devices/0000:0${bus}:00.0`;
        return `slow-path ${kind} ${device} ${count}`;
      }),
    ).flat();
    const limitMs = commands.length * ROUND_LIMIT_MS;
    return await byTurns(l1, { guests, commands, limitMs });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function nanoseconds(answer: string): number {
  const found = / ns=(\d+)$/.exec(answer);
  if (found === null) throw new Error(`the guest answered: ${answer}`);
  return Number(found[1]);
}

/** The first round of each kind warms up. */
function results(all: readonly Round[], kinds: readonly Kind[]): Result[] {
  return kinds.map(({ name, what }, at) => {
    const own = all.filter((_, index) => index % kinds.length === at).slice(1);
    return { name, what, ...pairedRatio(own, ({ answer }) => nanoseconds(answer)) };
  });
}

function table(rows: readonly Result[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const us = (value: number) => (value / 1000).toFixed(0);
  return [
    line(["", "Viaduct us", "QEMU us", "ratio", "quartiles"]),
    line(["---", "---:", "---:", "---:", "---:"]),
    ...rows.map(({ what, viaduct, qemu, ratio, low, high }) =>
      line([what, us(viaduct), us(qemu), ratio.toFixed(2), `${low.toFixed(2)}-${high.toFixed(2)}`]),
    ),
  ].join("\n");
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "8" },
      kernel: { type: "string" },
      only: { type: "string" },
      json: { type: "boolean", default: false },
    },
  });
  const only = values.only?.split(",");
  const kinds = KINDS.filter(({ name }) => only === undefined || only.includes(name));
  // Not the lab's: a guest's own accesses can end it there (docs/lab.md, "Emulated SVM").
  const name = await kernelToMeasure(values.kernel ?? "debian");
  // One more to warm up.
  const rows = results(await measure(name, kinds, Number(values.rounds) + 1), kinds);
  const text = values.json ? JSON.stringify({ goal: GOAL, limit: LIMIT, rows }) : table(rows);
  process.stdout.write(`${text}\n`);
  process.exitCode = rows.every(({ ratio }) => ratio <= LIMIT) ? 0 : 1;
}

await main();
