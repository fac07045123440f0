import assert from "node:assert/strict";
import { test } from "node:test";
import { MADV_POPULATE_WRITE } from "../abi/mman.ts";
import { populateRam } from "./populate-ram.ts";

const GIB = 2 ** 30;
const HVA = 0x7f00_0000_0000;

/** A host that takes a while for each piece of RAM. */
function slowHost(secondsForGib: number, failAt = Number.POSITIVE_INFINITY) {
  let time = 5000;
  let end = HVA;
  const madvise = (at: number, length: number, advice: number): number => {
    assert.deepEqual([at, advice], [end, MADV_POPULATE_WRITE]);
    end += length;
    time += (length / GIB) * secondsForGib * 1000;
    return end - HVA > failAt ? -12 : 0;
  };
  return { sys: { madvise }, now: () => time, populated: () => end - HVA };
}

function populate(host: ReturnType<typeof slowHost>, size: number): string[] {
  const lines: string[] = [];
  const ram = { name: "pc.ram", hva: HVA, size };
  populateRam(host.sys, ram, (line) => void lines.push(line), host.now);
  return lines;
}

test("populateRam says how far it is after a second, and then ever more rarely", () => {
  const host = slowHost(1);
  const lines = populate(host, 16 * GIB + 4096);
  assert.equal(host.populated(), 16 * GIB + 4096);
  assert.deepEqual(lines, [
    "pc.ram: pinning 16385 MiB of guest RAM for DMA: 6 % after 1 s",
    "pc.ram: pinning 16385 MiB of guest RAM for DMA: 12 % after 2 s",
    "pc.ram: pinning 16385 MiB of guest RAM for DMA: 24 % after 4 s",
    "pc.ram: pinning 16385 MiB of guest RAM for DMA: 49 % after 8 s",
    "pc.ram: pinning 16385 MiB of guest RAM for DMA: 99 % after 16 s",
  ]);
});

test("populateRam is silent about what takes less than a second", () => {
  assert.deepEqual(populate(slowHost(0.2), 4 * GIB), []);
});

test("populateRam leaves a host's refusal to the mapping", () => {
  const host = slowHost(0.1, GIB);
  assert.deepEqual(populate(host, 4 * GIB), []);
  assert.equal(host.populated(), 1.25 * GIB);
});
