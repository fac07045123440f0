/** What the passthrough benchmark reads from `guest-watch`. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { difference, readFigures } from "../../bench/guest-figures.ts";

const OUTPUT = `exec 1000000
first 2000000
line 2500000 guest: up after 1.50 s
sample 2500100 boot
stat exits 900
exit 2 0 400
exit 6 0 7
line 3000000 guest: mark memory
map 7f0000000000-7f0020000000 rw-p 524288 524288 524288 
map 7f0030000000-7f0030100000 rw-s 1024 1024 0 /memfd:pc.ram (deleted)
map 7f0040000000-7f0040100000 r-xp 600 0 0 /usr/bin/node
map 7f0050000000-7f0050100000 rw-p 40 40 40 [heap]
line 4000000 guest: mark count
sample 4300000 count
stat exits 1000
exit 2 0 500
sample 4900000 count
stat exits 1500
exit 2 0 500
exit 6 -4 3
line 5000000 guest: done
end 5500000
`;

test("readFigures: times count from exec", () => {
  const { execMs, firstOutputMs, upMs, endMs, lines } = readFigures(OUTPUT, 512);
  assert.deepEqual([execMs, firstOutputMs, upMs, endMs], [1000, 1000, 1500, 4500]);
  assert.deepEqual(lines, ["up after 1.50 s", "mark memory", "mark count", "done"]);
});

test("readFigures: guest RAM, of a memfd or of its size, is no memory of ours", () => {
  assert.deepEqual(readFigures(OUTPUT, 512).memory, {
    guestRamKib: 524288 + 1024,
    residentKib: 640,
    privateKib: 40,
    anonymousKib: 40,
  });
});

test("readFigures: exits are named; a difference leaves out what did not change", () => {
  const { boot, before, after } = readFigures(OUTPUT, 512);
  assert.deepEqual(
    [...boot.userspaceExits],
    [
      ["io", 400],
      ["mmio", 7],
    ],
  );
  assert.deepEqual(difference(before.statistics, after.statistics), { exits: 500 });
  assert.deepEqual(difference(before.userspaceExits, after.userspaceExits), { signal: 3 });
});

test("readFigures: a guest that did not come far enough is an error", () => {
  const cut = OUTPUT.slice(0, OUTPUT.indexOf("line 4000000"));
  assert.throws(() => readFigures(cut, 512), /no "end"/);
});
