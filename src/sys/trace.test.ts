import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { test } from "node:test";
import { channelOf, TracePoint, tracePoints } from "./trace.ts";

test("TracePoint: publishes on its channel while somebody listens", () => {
  const point = new TracePoint("vfio_trace_test", { name: "str", len: "int" });
  assert(tracePoints().some(({ event }) => event === "vfio_trace_test"));
  assert.equal(point.enabled, false);
  const seen: unknown[] = [];
  const listener = (message: unknown) => void seen.push(message);
  subscribe(channelOf("vfio_trace_test"), listener);
  assert.equal(point.enabled, true);
  point.emit({ name: "0000:01:00.0", len: 4 });
  unsubscribe(channelOf("vfio_trace_test"), listener);
  point.emit({ name: "0000:01:00.0", len: 2 });
  assert.deepEqual(seen, [{ event: "vfio_trace_test", args: { name: "0000:01:00.0", len: 4 } }]);
});
