import assert from "node:assert/strict";
import { test } from "node:test";
import { MAP_SHARED, PROT_READ, PROT_WRITE } from "../abi/mman.ts";
import { OwnedFd } from "./fd.ts";
import { Mapping } from "./mapping.ts";
import { nativeSyscalls } from "./native.ts";
import { check, SysError } from "./sys-error.ts";

const sys = nativeSyscalls();

function memfd(length: number): OwnedFd {
  const owned = new OwnedFd(sys, check(sys.memfdCreate("mapping-test", 0), "memfd_create"));
  check(sys.ftruncate(owned.fd, length), "ftruncate");
  return owned;
}

test("Mapping shows the file's bytes, and a stale view is harmless", () => {
  using file = memfd(8192);
  const request = { fd: file.fd, prot: PROT_READ | PROT_WRITE, flags: MAP_SHARED };
  const mapping = Mapping.map(sys, { ...request, offset: 4096, length: 4096 });
  mapping.memory.write32(8, 0x11223344);
  const seen = new Uint8Array(4);
  assert.equal(sys.pread(file.fd, seen, 4096 + 8), 4);
  assert.deepEqual([...seen], [0x44, 0x33, 0x22, 0x11]);
  const stale = new Uint8Array(mapping.buffer);
  mapping[Symbol.dispose]();
  mapping[Symbol.dispose]();
  assert.ok(stale[8] === 0 || stale[8] === undefined);
  assert.throws(() => mapping.buffer, RangeError);
});

test("Mapping honours an alignment larger than a page", () => {
  using file = memfd(4096);
  const align = 2 ** 21;
  using mapping = Mapping.map(sys, {
    fd: file.fd,
    offset: 0,
    length: 4096,
    prot: PROT_READ,
    flags: MAP_SHARED,
    align,
  });
  assert.equal(mapping.address % align, 0);
  assert.equal(mapping.memory.read8(0), 0);
});

test("Mapping names the call that failed", () => {
  assert.throws(
    () => Mapping.map(sys, { fd: -1, offset: 0, length: 4096, prot: 1, flags: MAP_SHARED }),
    (error) => error instanceof SysError && error.syscall === "mmap" && error.code === "EBADF",
  );
});
