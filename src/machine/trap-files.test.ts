/** The table between real threads: one makes accesses while the other changes what they mean. */

import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { AccessGateReader, AccessGates } from "../memory/access-gates.ts";
import { createAddressSpace } from "../memory/address-space.ts";
import { MemoryRegion } from "../memory/region.ts";
import { nativeSyscalls } from "../sys/native.ts";
import { TrapFileReader, TrapFiles } from "./trap-files.ts";

const ADDRESS = 0x1_0000_0000;
const ANSWERED = 3000;
const READS_MAX = 1e8;
const MINE = 0x11;
const OTHERS = 0x22;

interface Report {
  readonly wrong: number;
  readonly answered: number;
  readonly forwarded: number;
}

/** The device's file holds MINE; whatever else has its descriptor later is none of our business. */
function readAll({ table, gates }: { table: SharedArrayBuffer; gates: SharedArrayBuffer }): Report {
  const reader = new TrapFileReader(table, new AccessGateReader(gates), nativeSyscalls(), 1);
  const report = { wrong: 0, answered: 0, forwarded: 0 };
  for (let i = 0; i < READS_MAX && report.answered < ANSWERED; i++) {
    const value = reader.read(ADDRESS + (i & 0xff), 1);
    if (value === undefined) report.forwarded += 1;
    else if (value === MINE) report.answered += 1;
    else report.wrong += 1;
  }
  return report;
}

if (isMainThread) {
  test("a thread never uses a descriptor that was closed and given to another file", async () => {
    const folder = mkdtempSync(join(tmpdir(), "viaduct-test-"));
    try {
      const paths = [MINE, OTHERS].map((byte) => {
        const path = join(folder, String(byte));
        writeFileSync(path, Buffer.alloc(4096, byte));
        return path;
      });
      const root = new MemoryRegion("memory", "container", 1n << 64n);
      using space = createAddressSpace("memory", root);
      using files = new TrapFiles(space);
      const gates = new AccessGates();
      const gate = gates.allocate()!.index;
      const worker = new Worker(new URL(import.meta.url), {
        workerData: { table: files.buffer, gates: gates.buffer },
      });
      let report: Report | undefined;
      worker.once("message", (message: Report) => {
        report = message;
      });
      let reused = 0;
      while (report === undefined) {
        const fd = openSync(paths[0]!, "r");
        const region = new MemoryRegion("device", "io", 4096n, { file: { fd, offset: 0, gate } });
        root.add(region, BigInt(ADDRESS));
        await new Promise((resolve) => setImmediate(resolve));
        root.remove(region);
        closeSync(fd);
        const others = Array.from({ length: 20 }, () => openSync(paths[1]!, "r"));
        if (others.includes(fd)) reused += 1;
        for (const other of others) closeSync(other);
      }
      const { wrong, answered, forwarded } = report;
      assert.equal(wrong, 0);
      assert(reused > 0, "no descriptor's number was used again");
      assert(answered > 0 && forwarded > 0, `${answered} answered, ${forwarded} forwarded`);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
} else {
  parentPort!.postMessage(readAll(workerData));
}
