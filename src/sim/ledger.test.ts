import assert from "node:assert/strict";
import { test } from "node:test";
import { nativeSyscalls } from "../sys/native.ts";
import { Owner } from "../sys/owner.ts";
import { check, errnoOf } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { failEachCall, LeakError, Ledger } from "./ledger.ts";

const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;

/** An eventfd, a memfd and a mapping of it. */
function acquire(sys: Syscalls, forget: boolean): Owner {
  using owner = new Owner();
  ownEventfd(sys, owner);
  const fd = check(sys.memfdCreate("ledger", 0), "memfd_create");
  if (!forget) owner.defer(() => sys.close(fd));
  check(sys.ftruncate(fd, 8192), "ftruncate");
  const address = check(sys.mmap(0, 8192, PROT_READ_WRITE, MAP_SHARED, fd, 0), "mmap");
  owner.defer(() => sys.munmap(address, 8192));
  return owner.move();
}

function ownEventfd(sys: Syscalls, owner: Owner): void {
  const fd = check(sys.eventfd(0, 0), "eventfd");
  owner.defer(() => sys.close(fd));
}

test("Ledger lists what is held, and nothing once it is released", () => {
  const ledger = new Ledger(nativeSyscalls());
  const held = acquire(ledger, false);
  assert.equal(ledger.live().length, 3, ledger.live().join("\n"));
  held[Symbol.dispose]();
  assert.deepEqual(ledger.live(), []);
});

test("Ledger.failAt fails the n-th call once, with the errno", () => {
  const ledger = new Ledger(nativeSyscalls());
  ledger.failAt(2, "EMFILE");
  using owner = new Owner();
  ownEventfd(ledger, owner);
  assert.throws(
    () => ownEventfd(ledger, owner),
    (error) => errnoOf(error) === "EMFILE",
  );
  ownEventfd(ledger, owner);
  owner[Symbol.dispose]();
  assert.deepEqual(
    ledger.calls.map(({ name, result }) => [name, result < 0]),
    [
      ["eventfd", false],
      ["eventfd", true],
      ["eventfd", false],
      ["close", false],
      ["close", false],
    ],
  );
});

test("failEachCall fails every call of an operation in turn and accepts one that undoes", () => {
  const seen: string[] = [];
  const count = failEachCall(
    nativeSyscalls,
    (ledger) => acquire(ledger, false),
    (_error, call) => seen.push(call.name),
  );
  assert.deepEqual(seen.slice(0, 4), ["eventfd", "memfdCreate", "ftruncate", "mmap"]);
  assert(count >= 4);
});

test("failEachCall names what an operation leaves behind", () => {
  assert.throws(
    () => failEachCall(nativeSyscalls, (ledger) => acquire(ledger, true)),
    (error) => error instanceof LeakError && /memfd:ledger/.test(error.message),
  );
});
