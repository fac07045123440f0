/**
 * How long 1 and 4 GiB of guest RAM take to map for DMA, by the product's classes and by C, in L1
 * by turns. The kernel pins and enters every page, so this says what we add to that.
 */

import { resolve } from "node:path";
import { L1 } from "../lab/l1.ts";
import { progress } from "../lab/progress.ts";
import { compiled } from "./compiled.ts";
import { median } from "./median.ts";

export interface MapFigures {
  readonly gib: number;
  /** Medians in milliseconds. The first mapping also takes the pages from the kernel. */
  readonly ours: MapTimes;
  readonly c: MapTimes;
  /** Medians of the rounds' ratios of ours to C. */
  readonly firstRatio: number;
  readonly againRatio: number;
}

export interface MapTimes {
  readonly firstMs: number;
  readonly unmapMs: number;
  readonly againMs: number;
}

const MEMORY_MIB = 6144;
const SIZES_GIB = [1, 4];
const ROUNDS = 3;
const LIMIT_MS = 180_000;
const inside = resolve(import.meta.dirname, "map-dma-inside.js");

/** @param disk a file for the NVMe controller whose group is used */
export async function measureMapping(
  kernelName: "lab" | "debian",
  disk: string,
): Promise<MapFigures[]> {
  await using l1 = await L1.start({ kernel: kernelName, memoryMib: MEMORY_MIB });
  const bdf = await l1.plug("nvme", { drive: await l1.drive(disk), serial: "map" });
  await l1.bindVfio(bdf);
  const group = await l1.sh(`basename $(readlink /sys/bus/pci/devices/${bdf}/iommu_group)`);
  const path = `/dev/vfio/${group}`;
  const yardstick = await compiled("map-dma");
  const measured: MapFigures[] = [];
  for (const gib of SIZES_GIB) {
    const size = String(gib * 2 ** 30);
    const rounds = [];
    for (let round = 0; round < ROUNDS; round++) {
      const c = await once(l1, [yardstick, path, size]);
      const ours = await once(l1, ["node", inside, path, size]);
      rounds.push({ c, ours });
      progress(`map ${gib} GiB: ${ours.firstMs.toFixed(0)} ms, C ${c.firstMs.toFixed(0)} ms`);
    }
    measured.push({
      gib,
      ours: medians(rounds.map(({ ours }) => ours)),
      c: medians(rounds.map(({ c }) => c)),
      firstRatio: median(rounds.map(({ ours, c }) => ours.firstMs / c.firstMs)),
      againRatio: median(rounds.map(({ ours, c }) => ours.againMs / c.againMs)),
    });
  }
  return measured;
}

async function once(l1: L1, command: readonly string[]): Promise<MapTimes> {
  const line = await l1.sh(command.join(" "), { timeoutMs: LIMIT_MS });
  const [firstMs = 0, unmapMs = 0, againMs = 0] = line.split(" ").map((ns) => Number(ns) / 1e6);
  return { firstMs, unmapMs, againMs };
}

function medians(times: readonly MapTimes[]): MapTimes {
  return {
    firstMs: median(times.map(({ firstMs }) => firstMs)),
    unmapMs: median(times.map(({ unmapMs }) => unmapMs)),
    againMs: median(times.map(({ againMs }) => againMs)),
  };
}
