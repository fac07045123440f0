import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type JsonItem, JsonStream, VALUE_LENGTH_MAX } from "./json-stream.ts";

const encode = (text: string) => new TextEncoder().encode(text);

function feedAll(...pieces: string[]): JsonItem[] {
  const stream = new JsonStream();
  return pieces.flatMap((piece) => stream.feed(encode(piece)));
}

const errors = (items: readonly JsonItem[]) => items.filter((item) => "error" in item).length;
const values = (items: readonly JsonItem[]) =>
  items.flatMap((item) => ("value" in item ? [item.value] : []));

test("JsonStream takes values a line, values side by side, and values over lines", () => {
  const items = feedAll('{"a":1}\n{"b":"}{\\"\\\\"}{"c":[1,\n {}]}\r\n 7 "word" true {"d":null}');
  assert.deepEqual(items, [
    ...[{ value: { a: 1 } }, { value: { b: '}{"\\' } }, { value: { c: [1, {}] } }],
    ...[{ value: 7 }, { value: "word" }, { value: true }, { value: { d: null } }],
  ]);
});

test("JsonStream refuses garbage once, and understands the next line", () => {
  for (const garbage of [
    "hello, world",
    '{"a":}',
    "}]}",
    '{"a":"no end',
    "[}",
    "\u0000\u0001",
    '{"a" 1} {"b":2}',
    "'single'",
  ]) {
    const items = feedAll(`${garbage}\n{"ok":1}\n`);
    assert.equal(errors(items), 1, garbage);
    assert.deepEqual(items.at(-1), { value: { ok: 1 } }, garbage);
  }
});

test("JsonStream keeps no more than the limit, whatever comes", () => {
  const stream = new JsonStream();
  let refused = 0;
  for (let i = 0; i < 100; i++) refused += errors(stream.feed(encode('{"a":['.repeat(10_000))));
  assert.equal(refused, 1, "the rest of the line is skipped");
  assert.deepEqual(values(stream.feed(encode('\n{"ok":1}'))), [{ ok: 1 }]);
  const long = stream.feed(encode(`{"a":"${"x".repeat(VALUE_LENGTH_MAX)}`));
  assert.match(JSON.stringify(long), /more than 262144 characters/);
  assert.deepEqual(values(stream.feed(encode(`${"x".repeat(100)}"}\n{"ok":2}`))), [{ ok: 2 }]);
});

test("JsonStream gives the same, however the bytes are split", () => {
  const value = fc.dictionary(fc.string(), fc.jsonValue());
  const split = fc.array(fc.nat(64), { minLength: 1 });
  fc.assert(
    fc.property(fc.array(value), split, (sent, sizes) => {
      const bytes = encode(sent.map((each) => JSON.stringify(each)).join(""));
      const stream = new JsonStream();
      const got: unknown[] = [];
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const size = 1 + sizes[i % sizes.length]!;
        got.push(...values(stream.feed(bytes.subarray(at, at + size))));
        at += size;
      }
      assert.deepEqual(JSON.stringify(got), JSON.stringify(sent));
    }),
  );
});

test("JsonStream takes any bytes without a throw, and the next line is understood", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 })), (pieces) => {
      const stream = new JsonStream();
      for (const piece of pieces) stream.feed(piece);
      // Whatever was open: enough brackets and a line's end close it.
      stream.feed(encode(`"${"}".repeat(1100)}\n\n`));
      stream.feed(encode(`${"]".repeat(1100)}\n`));
      assert.deepEqual(values(stream.feed(encode('\n{"ok":1}'))).at(-1), { ok: 1 });
    }),
  );
});
