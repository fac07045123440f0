/**
 * What trace points cost a trapped read: when nobody listens, and when a subscriber does nothing.
 * The device answers at once, so that all of the rest is Viaduct's own. Runs anywhere.
 */

import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { channelOf } from "../src/sys/trace.ts";
import type { VfioDevice } from "../src/vfio/device.ts";
import { VfioRegion } from "../src/vfio/region.ts";
import * as trace from "../src/vfio/trace.ts";
import { median } from "./median.ts";

const READS = 2_000_000;
const ROUNDS = 9;

const device = {
  name: "0000:01:00.0",
  readRegion: (_region: unknown, _offset: number, into: Uint8Array) => into.length,
} as unknown as VfioDevice;
const info = {
  index: 0,
  flags: 3,
  size: 4096,
  fdOffset: 0,
  sparseAreas: undefined,
  type: undefined,
  msixMappable: false,
  capabilities: new Map(),
};
const region = new VfioRegion(device, info, { name: "BAR 0" });

/** Nanoseconds of one `step`. */
function time(step: (i: number) => number): number {
  let sum = 0;
  const started = process.hrtime.bigint();
  for (let i = 0; i < READS; i++) sum += step(i & 0xffc);
  const elapsed = Number(process.hrtime.bigint() - started);
  if (sum < 0) throw new RangeError("the device answers with unsigned numbers");
  return elapsed / READS;
}

const read = (offset: number) => region.read(offset, 4);
const question = (offset: number) => (trace.vfio_region_read.enabled ? 1 : offset);
const nothing = (offset: number) => offset;

function listening<T>(step: () => T): T {
  const listener = () => {};
  const channel = channelOf(trace.vfio_region_read.event);
  subscribe(channel, listener);
  try {
    return step();
  } finally {
    unsubscribe(channel, listener);
  }
}

const rounds = (step: () => number) => median(Array.from({ length: ROUNDS }, step)).toFixed(1);

// Those without a subscriber first: a channel that has had one is slower ever after.
const asked = rounds(() => time(question) - time(nothing));
const off = rounds(() => time(read));
const on = listening(() => rounds(() => time(read)));
process.stdout.write(`is anybody listening?              ${asked} ns
trapped read, nobody listening     ${off} ns
trapped read, one idle subscriber  ${on} ns
`);
