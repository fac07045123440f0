import assert from "node:assert/strict";
import { test } from "node:test";
import { Owner } from "./owner.ts";

const named = (name: string, log: string[]): Disposable => ({
  [Symbol.dispose]: () => void log.push(name),
});

test("Owner releases in reverse order, once", () => {
  const log: string[] = [];
  const owner = new Owner();
  owner.own(named("container", log));
  owner.own(named("group", log));
  owner.defer(() => void log.push("device"));
  owner[Symbol.dispose]();
  owner[Symbol.dispose]();
  assert.deepEqual(log, ["device", "group", "container"]);
});

test("Owner.move leaves nothing behind", () => {
  const log: string[] = [];
  const heir = (() => {
    using owner = new Owner();
    owner.own(named("fd", log));
    return owner.move();
  })();
  assert.deepEqual(log, []);
  heir[Symbol.dispose]();
  assert.deepEqual(log, ["fd"]);
});

test("Owner releases the rest when a release throws, and then throws it", () => {
  const log: string[] = [];
  const owner = new Owner();
  owner.own(named("first", log));
  owner.defer(() => {
    throw new Error("close failed");
  });
  assert.throws(() => owner[Symbol.dispose](), /close failed/);
  assert.deepEqual(log, ["first"]);
});
