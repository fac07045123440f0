import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { registers } from "./registers.ts";

interface Device {
  calls: string[];
  select: number;
  status: number;
  wide: bigint;
}

const device = (): Device => ({
  calls: [],
  select: 0x11223344,
  status: 0x0f,
  wide: 0x8877665544332211n,
});

const table = registers<Device>("sample", 32, [
  [
    "select",
    4,
    {
      read: (d) => {
        d.calls.push("read select");
        return d.select;
      },
      write: (d, value, mask) => {
        d.calls.push(`write select ${value.toString(16)} ${mask.toString(16)}`);
        d.select = value;
      },
    },
  ],
  ["revision", 1, { read: () => 0xa5 }],
  ["reserved", 1],
  [
    "status",
    2,
    {
      read: (d) => d.status,
      write: (d, value, mask) => {
        d.status &= ~(value & mask);
      },
    },
  ],
  [
    "wide",
    8,
    {
      read64: (d) => d.wide,
      write64: (d, value) => {
        d.wide = value;
      },
    },
  ],
  ["tail", 16],
]);

test("registers: an access of the register's width reaches the handler once, whole", () => {
  const d = device();
  assert.equal(table.read(d, 0, 4), 0x11223344);
  table.write(d, 0, 4, 0xdeadbeef);
  assert.deepEqual(d.calls, ["read select", "write select deadbeef ffffffff"]);
  assert.equal(table.read64(d, 8), 0x8877665544332211n);
  table.write64(d, 8, 1n);
  assert.equal(d.wide, 1n);
});

test("registers: a narrow write is merged with what a read gives", () => {
  const d = device();
  table.write(d, 1, 2, 0xabcd);
  assert.deepEqual(d.calls, ["read select", "write select 11abcd44 ffff00"]);
  table.write(d, 12, 4, 0x01020304);
  assert.equal(d.wide, 0x0102030444332211n);
});

test("registers: a bit cleared by writing 1 stays when a neighbouring byte is written", () => {
  const d = device();
  table.write(d, 7, 1, 0xff);
  assert.equal(d.status, 0x0f);
  table.write(d, 6, 1, 0x03);
  assert.equal(d.status, 0x0c);
});

test("registers: an access over several registers touches each once", () => {
  const d = device();
  assert.equal(table.read(d, 2, 4), 0x00a51122);
  assert.deepEqual(d.calls, ["read select"]);
  table.write(d, 2, 4, 0xffff5566);
  assert.equal(d.select, 0x55663344);
});

test("registers: outside the table reads zero and drops writes", () => {
  const d = device();
  assert.equal(table.read(d, 30, 4), 0);
  assert.equal(table.read(d, 400, 4), 0);
  table.write(d, 400, 4, 1);
  assert.deepEqual(d, device());
});

test("registers: any split of a read returns the same bytes", () => {
  const d = device();
  const whole = Array.from({ length: 32 }, (_, offset) => table.read(d, offset, 1));
  const length = fc.constantFrom(1, 2, 3, 4);
  fc.assert(
    fc.property(fc.nat(31), fc.array(length, { minLength: 1, maxLength: 12 }), (start, parts) => {
      let offset = start;
      for (const part of parts.filter(() => offset < 32)) {
        const value = table.read(d, offset, part);
        for (let byte = 0; byte < part; byte++) {
          assert.equal((value >>> (byte * 8)) & 0xff, whole[offset + byte] ?? 0);
        }
        offset += part;
      }
      if (start <= 24) {
        const bytes = whole.slice(start, start + 8).reverse();
        const wide = BigInt(`0x${bytes.map((b) => b.toString(16).padStart(2, "0")).join("")}`);
        assert.equal(table.read64(d, start), wide);
      }
    }),
  );
});

test("registers: any split of a write leaves the same state", () => {
  const plain = registers<Uint32Array>(
    "plain",
    16,
    [0, 1, 2, 3].map(
      (i) =>
        [
          `r${i}`,
          4,
          {
            read: (d: Uint32Array) => d[i]!,
            write: (d: Uint32Array, value: number) => {
              d[i] = value;
            },
          },
        ] as const,
    ),
  );
  const written = fc.uint8Array({ minLength: 16, maxLength: 16 });
  const splits = fc.array(fc.constantFrom(1, 2, 3, 4), { minLength: 16, maxLength: 16 });
  fc.assert(
    fc.property(written, splits, (bytes, lengths) => {
      const d = new Uint32Array(4);
      let offset = 0;
      for (const length of lengths) {
        const part = [...bytes.subarray(offset, offset + length)];
        if (part.length === 0) break;
        const value = part.reduceRight((sum, byte) => sum * 256 + byte, 0);
        plain.write(d, offset, part.length, value);
        offset += part.length;
      }
      const read = Array.from({ length: 16 }, (_, at) => plain.read(d, at, 1));
      assert.deepEqual(read, [...bytes]);
    }),
  );
});

test("registers: widths that do not add up, and registers out of alignment, are refused", () => {
  assert.throws(() => registers("x", 8, [["a", 4]]), /do not add up/);
  assert.throws(
    () =>
      registers("x", 5, [
        ["a", 1],
        ["b", 4, {}],
      ]),
    /b is not aligned/,
  );
  assert.equal(table.offsetOf("status"), 6);
  assert.equal(table.nameAt(9), "wide");
});
