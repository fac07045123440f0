import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { EventFd } from "./event-fd.ts";
import { EventLoop } from "./event-loop.ts";
import { nativeSyscalls } from "./native.ts";

const sys = nativeSyscalls();

test("EventLoop.dispatch runs the callback of each signalled eventfd once drained", () => {
  using loop = EventLoop.create(sys);
  using first = EventFd.create(sys);
  using second = EventFd.create(sys);
  const log: string[] = [];
  using _first = loop.watch(first.fd, () => void (first.drain() && log.push("first")));
  using _second = loop.watch(second.fd, () => void (second.drain() && log.push("second")));
  assert.equal(loop.dispatch(), 0);
  second.signal();
  second.signal();
  assert.equal(loop.dispatch(), 1);
  assert.deepEqual(log, ["second"]);
});

test("EventLoop wakes Node's loop", { timeout: 5000 }, async () => {
  using loop = EventLoop.create(sys);
  using event = EventFd.create(sys);
  const seen = new EventTarget();
  using _watch = loop.watch(event.fd, () => {
    event.drain();
    seen.dispatchEvent(new Event("ready"));
  });
  setTimeout(() => event.signal(), 1);
  await once(seen, "ready");
});

test("EventLoop stops calling back after dispose, even for what is pending", () => {
  using loop = EventLoop.create(sys);
  using event = EventFd.create(sys);
  let calls = 0;
  const watch = loop.watch(event.fd, () => calls++);
  event.signal();
  watch[Symbol.dispose]();
  watch[Symbol.dispose]();
  assert.equal(loop.dispatch(), 0);
  assert.equal(calls, 0);
});
