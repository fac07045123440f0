/**
 * A device assigned to a guest under Viaduct and under QEMU: the same NVMe controller, kernel,
 * initrd and L1, by turns, because the machine's speed drifts more than the two differ. Reading
 * order: here, `passthrough-guest.ts` (one guest), `guest-watch.c` (what measures it),
 * `passthrough-report.ts` (what is made of it), `map-dma.ts`. docs/benchmarks.md explains every
 * figure.
 *
 *     npm run bench -- passthrough [--rounds=5] [--kernel=lab|debian] [--json FILE]
 *                                    [--results FILE] [--no-map]
 */

import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type KernelName, kernel } from "../lab/kernel.ts";
import { L1 } from "../lab/l1.ts";
import { progress } from "../lab/progress.ts";
import type { Monitor } from "./guest-turns.ts";
import { kernelToMeasure } from "./lab-kernel.ts";
import { measureMapping } from "./map-dma.ts";
import { GuestBench, type WatchedGuest } from "./passthrough-guest.ts";
import { measureReads } from "./passthrough-reads.ts";
import { type Measured, type Pair, summary } from "./passthrough-report.ts";
import { tables } from "./passthrough-tables.ts";

const DISK_BYTES = 256 * 2 ** 20;

async function measureGuests(
  name: KernelName,
  disk: string,
  rounds: number,
): Promise<Pick<Measured, "cold" | "rounds">> {
  await using l1 = await L1.start({ kernel: name });
  const drive = await l1.drive(disk);
  const bdf = await l1.plug("nvme", { drive, serial: "bench" });
  await l1.bindVfio(bdf);
  const bench = await GuestBench.create(l1, await kernel(name), bdf);
  const pair = async (what: string, first: Monitor = "viaduct") => {
    const guests: Partial<Record<Monitor, WatchedGuest>> = {};
    for (const monitor of [first, first === "viaduct" ? "qemu" : "viaduct"] as const)
      guests[monitor] = await run(bench, monitor, what);
    return guests as Pair;
  };
  // The first of each reads its program through 9p; afterwards L1 has it in its page cache.
  const cold = await pair("cold");
  const measured = [];
  for (let round = 1; round <= rounds; round++) {
    // A B B A: what drifts falls on both alike.
    const first = round % 2 === 0 ? "qemu" : "viaduct";
    measured.push(await pair(`boot ${round} of ${rounds}`, first));
  }
  return { cold, rounds: measured };
}

async function run(bench: GuestBench, monitor: Monitor, what: string): Promise<WatchedGuest> {
  const guest = await bench.run(monitor);
  progress(`${what}: ${monitor}: up after ${guest.figures.upMs.toFixed(0)} ms`);
  return guest;
}

/** Minutes of guests are not to be lost because this part failed. */
async function orNote<T>(what: string, measure: () => Promise<T>): Promise<T | undefined> {
  try {
    return await measure();
  } catch (error) {
    progress(`${what}: not measured: ${(error as Error).message}`);
    return undefined;
  }
}

/** Replaces what follows the heading "Results" of a Markdown file. */
function replaceResults(path: string, text: string): void {
  const [before = ""] = readFileSync(path, "utf8").split(/^(?<=## Results\n)/m);
  writeFileSync(path, `${before}\n${text}`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "6" },
      "read-pairs": { type: "string", default: "4" },
      "read-rounds": { type: "string", default: "5" },
      kernel: { type: "string" },
      json: { type: "string" },
      results: { type: "string" },
      "no-map": { type: "boolean", default: false },
    },
  });
  const name = await kernelToMeasure(values.kernel);
  const folder = mkdtempSync(join(tmpdir(), "viaduct-bench-"));
  try {
    const disk = join(folder, "nvme.img");
    const fd = openSync(disk, "w");
    ftruncateSync(fd, DISK_BYTES);
    closeSync(fd);
    const load = loadavg()[0]!;
    const guests = await measureGuests(name, disk, Number(values.rounds));
    const reads = await orNote("reads", () =>
      measureReads({
        kernel: name,
        disk,
        pairs: Number(values["read-pairs"]),
        rounds: Number(values["read-rounds"]),
      }),
    );
    const map = () => measureMapping(name, disk);
    const mapping = values["no-map"] ? undefined : await orNote("mapping", map);
    const release = (await kernel(name)).release;
    const where = {
      date: new Date().toISOString().slice(0, 16),
      machine: `${cpus().length} x ${cpus()[0]?.model.trim()}`,
      node: process.version,
      kernel: release,
      loadAverage: { before: load, after: loadavg()[0]! },
    };
    const result = summary({ ...guests, where, reads: reads ?? [], mapping });
    const text = tables(result);
    process.stdout.write(text);
    if (values.results !== undefined) replaceResults(values.results, text);
    if (values.json !== undefined)
      writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`);
    process.exitCode = reads && result.targets.every(({ holds }) => holds) ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

await main();
