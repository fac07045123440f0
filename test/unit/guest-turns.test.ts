import assert from "node:assert/strict";
import { test } from "node:test";
import { pairedRatio, type Round, type Turn } from "../../bench/guest-turns.ts";

function round(viaduct: readonly number[], qemu: readonly number[]): Round {
  const turns = (monitor: "viaduct" | "qemu", values: readonly number[]): Turn[] =>
    values.map((value) => ({ monitor, command: "x", answer: `ns=${value}`, workMs: 10 }));
  return { viaduct: turns("viaduct", viaduct), qemu: turns("qemu", qemu) };
}

const nanoseconds = ({ answer }: Turn): number => Number(answer.slice(3));

test("pairedRatio is the median of the rounds' ratios, not the ratio of the medians", () => {
  // The machine becomes ten times slower on the way; within a round both see the same.
  const rounds = [
    round([90, 110], [50, 50]),
    round([400, 400], [190, 210]),
    round([1000, 1000], [500, 500]),
    round([900, 1100], [250, 250]),
  ];
  const { viaduct, qemu, ratio, low, high } = pairedRatio(rounds, nanoseconds);
  assert.deepEqual([viaduct, qemu], [1000, 250]);
  assert.deepEqual([ratio, low, high], [2, 2, 2]);
});
