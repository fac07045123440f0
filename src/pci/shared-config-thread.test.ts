/** The shared table between real threads: one reads while the other changes everything. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { devfnOf } from "./bus.ts";
import { PciFunction } from "./function.ts";
import { RecordingPlatform } from "./recording-platform.ts";
import { RootComplex } from "./root-complex.ts";
import { SharedConfigReader } from "./shared-config.ts";

const BDF = devfnOf(3);
const BODY = 0x40;
const READS = 100_000;

interface Report {
  readonly torn: number[];
  readonly absent: number;
  readonly forwarded: number;
}

/** Reads one dword over and over: it is one of two values, or absent, never a mixture. */
function readAll(buffer: SharedArrayBuffer): Report {
  const reader = new SharedConfigReader(buffer, { pread: () => -9 });
  const torn: number[] = [];
  let [absent, forwarded] = [0, 0];
  for (let i = 0; i < READS; i++) {
    const value = reader.read(BDF, BODY, 4);
    if (value === undefined) forwarded += 1;
    else if (value === 0xffffffff) absent += 1;
    else if (value !== 0x11111111 && value !== 0x22222222) torn.push(value);
  }
  return { torn, absent, forwarded };
}

if (isMainThread) {
  test("a thread never sees half a write, nor another function in a reused slot", async () => {
    const root = new RootComplex({ platform: new RecordingPlatform() });
    const make = () => {
      const fn = new PciFunction({ name: "x", bus: root.bus, devfn: BDF });
      fn.config.write(BODY, 4, 0x11111111);
      root.bus.attach(fn);
      return fn;
    };
    let fn = make();
    const worker = new Worker(new URL(import.meta.url), { workerData: root.sharedConfig.buffer });
    let report: Report | undefined;
    worker.once("message", (message: Report) => {
      report = message;
    });
    for (let round = 0; report === undefined; round++) {
      for (let i = 0; i < 2000; i++) fn.writeConfig(BODY, 4, i % 2 ? 0x11111111 : 0x22222222);
      fn[Symbol.dispose]();
      // Takes the slot that has become free, under another address.
      using other = new PciFunction({ name: "y", bus: root.bus, devfn: devfnOf(4) });
      other.config.bytes.fill(round);
      root.bus.attach(other);
      fn = make();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await worker.terminate();
    assert.deepEqual(report.torn, []);
    assert.ok(report.forwarded + report.absent < READS);
  });
} else {
  parentPort!.postMessage(readAll(workerData as SharedArrayBuffer));
}
