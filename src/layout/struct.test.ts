import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import fc from "fast-check";
import {
  array,
  be16,
  bytes,
  flexible,
  flexibleBytes,
  le32,
  overlay,
  type StructView,
  s32,
  struct,
  u8,
  u16,
  u32,
  u64,
  union,
} from "./struct.ts";

const inner = struct("inner", 8, { id: u16, version: u16, next: u32 });
const fields = {
  argsz: u32,
  flags: u32,
  size: u64,
  header: inner,
  fd: s32,
  _: overlay({ group_id: u32, devid: u32 }),
  name: bytes(4),
  words: array(u16, 2),
  port: be16,
  _pad: u16,
  command: le32,
  tail: flexible(inner),
};
const sample = struct("sample", 48, fields);

test("struct: offsets follow C, members of an anonymous union share theirs", () => {
  assert.equal(sample.offsetof("size"), 8);
  assert.equal(sample.offsetof("fd"), 24);
  assert.equal(sample.offsetof("group_id"), 28);
  assert.equal(sample.offsetof("devid"), 28);
  assert.equal(sample.offsetof("words"), 36);
  assert.equal(sample.offsetof("tail"), 48);
});

test("struct: implicit padding and a wrong total throw at declaration", () => {
  assert.throws(() => struct("x", 16, { a: u32, b: u64 }), /C pads 4 bytes before b/);
  assert.throws(() => struct("x", 12, { b: u64, a: u32 }), /C pads the end to a multiple of 8/);
  assert.throws(() => struct("x", 9, { a: u64 }), /end at 8, not at 9/);
  assert.throws(() => struct("x", 8, { a: u32, _: overlay({ a: u32, b: u32 }) }), /occurs twice/);
  assert.equal(struct("x", 12, { a: u32, b: u64 }, { packed: true }).offsetof("b"), 4);
});

test("union: every member begins at 0 and the widest gives the size", () => {
  const chip = union("chip", 16, { dummy: bytes(16), pic: inner });
  assert.equal(chip.offsetof("pic"), 0);
  const holder = struct("holder", 24, { id: u32, pad: u32, chip });
  const view = holder.at(holder.bytes({ chip: { pic: { next: 7 } } }));
  assert.equal(view.chip.pic.next, 7);
});

test("overlay: members are fields of the struct around, and see each other's bytes", () => {
  const view = sample.at(sample.bytes({ devid: 7 }));
  assert.equal(view.group_id, 7);
  view.group_id = 8;
  assert.equal(view.devid, 8);
});

test("bytes: sets what is given, leaves the rest zero, makes room for the flexible member", () => {
  const memory = sample.bytes({
    argsz: 48,
    size: 4096,
    header: { next: 9 },
    name: Uint8Array.of(1, 2),
    words: [3, 4],
    tail: [{ id: 5 }, { id: 6, next: 1 }],
  });
  assert.equal(memory.byteLength, 48 + 16);
  const view = sample.at(memory);
  assert.equal(view.size, 4096n);
  assert.equal(view.flags, 0);
  assert.equal(view.header.next, 9);
  assert.deepEqual([...view.name], [1, 2, 0, 0]);
  assert.deepEqual([...view.words], [3, 4]);
  assert.equal(view.tail.length, 2);
  assert.equal(view.tail.get(1).next, 1);
  assert.throws(() => view.tail.get(2), RangeError);
  const raw = struct("raw", 4, { argsz: u32, data: flexibleBytes() });
  assert.equal(raw.bytes({ data: new Uint8Array(3) }).byteLength, 7);
  assert.equal(raw.at(raw.bytes({}, 5)).data.byteLength, 5);
});

test("at: honours the offset of a view inside a bigger buffer, refuses what is too short", () => {
  const whole = new Uint8Array(128);
  const part = whole.subarray(32, 96);
  sample.at(part, 8).argsz = 0xff;
  assert.equal(new Uint32Array(whole.buffer, 40, 1)[0], sample.endian === "LE" ? 0xff : 0xff000000);
  assert.throws(() => sample.at(part, 17), RangeError);
  assert.throws(() => sample.at(part, -1), RangeError);
});

test("bytes: an unknown field of a nested value is refused", () => {
  const wrong = { header: { nextt: 1 } } as unknown as { header: { next: number } };
  assert.throws(() => sample.bytes(wrong), /no field nextt/);
});

test("withEndian: host fields turn round, fields with an order of their own do not", () => {
  const big = sample.withEndian("BE");
  const memory = big.bytes({ argsz: 0x01020304, port: 0x0506, command: 0x0708090a });
  assert.deepEqual([...memory.subarray(0, 4)], [1, 2, 3, 4]);
  assert.deepEqual([...memory.subarray(40, 42)], [5, 6]);
  assert.deepEqual([...memory.subarray(44, 48)], [10, 9, 8, 7]);
  const nested = big.bytes({ header: { next: 0x0b0c0d0e } });
  assert.deepEqual([...nested.subarray(20, 24)], [11, 12, 13, 14]);
  const little = sample.withEndian("LE");
  assert.deepEqual([...little.bytes({ argsz: 0x01020304 }).subarray(0, 4)], [4, 3, 2, 1]);
  assert.deepEqual(
    big.places.map(({ offset }) => offset),
    sample.places.map(({ offset }) => offset),
  );
});

test("a view prints its fields", () => {
  assert.match(inspect(inner.at(inner.bytes({ id: 3 }))), /id: 3, version: 0, next: 0/);
});

const scalars = { u8, u16, u32, u64, s32, be16, le32 };
const widths = fc.constantFrom(...Object.values(scalars));

test("any value of any scalar field round-trips and touches only its own bytes", () => {
  fc.assert(
    fc.property(
      widths,
      fc.constantFrom("LE" as const, "BE" as const),
      fc.bigInt(0n, 2n ** 64n - 1n),
      (type, endian, seed) => {
        const one = struct(
          "one",
          16 + type.size,
          { before: u64, it: type, after: u64 },
          { endian, packed: true },
        );
        const memory = one.bytes();
        const view = one.at(memory) as StructView<{ it: typeof u64 }>;
        const bits = type.size * 8;
        const value = type.signed ? BigInt.asIntN(bits, seed) : BigInt.asUintN(bits, seed);
        const stored = type.size === 8 ? value : (Number(value) as unknown as bigint);
        view.it = stored;
        assert.equal(view.it, stored);
        assert.equal(one.at(memory).before, 0n);
        assert.equal(one.at(memory).after, 0n);
      },
    ),
  );
});

test("a value outside its field throws RangeError and stores nothing", () => {
  const view = sample.at(sample.bytes());
  fc.assert(
    fc.property(fc.oneof(fc.integer({ max: -1 }), fc.double({ min: 2 ** 32 })), (value) => {
      assert.throws(() => {
        view.argsz = value;
      }, RangeError);
      assert.equal(view.argsz, 0);
    }),
  );
  for (const value of [0.5, Number.NaN, 1n as unknown as number]) {
    assert.throws(() => {
      view.argsz = value;
    }, RangeError);
  }
  for (const value of [-1n, 2n ** 64n]) {
    assert.throws(() => {
      view.size = value;
    }, RangeError);
  }
  assert.throws(() => {
    view.fd = 2 ** 31;
  }, RangeError);
  assert.throws(() => sample.bytes({ size: 2 ** 60 }), RangeError);
  assert.throws(() => sample.bytes({ name: new Uint8Array(5) }), RangeError);
});
