import assert from "node:assert/strict";
import { test } from "node:test";
import { functionsOf } from "./function-lengths.ts";

const lengths = (...lines: string[]) =>
  functionsOf(lines.join("\n"))
    .map(({ line, lines: count }) => `${line}:${count}`)
    .sort();

test("functionsOf: functions, methods and arrows, with signatures over several lines", () => {
  assert.deepEqual(lengths("function f(a: number): void {", "  a++;", "}"), ["1:3"]);
  assert.deepEqual(
    lengths("class A {", "  async #m(", "    a: number,", "  ): Promise<void> {", "  }", "}"),
    ["2:4"],
  );
  assert.deepEqual(lengths("function f({", "  a,", "}: Options) {", "  a++;", "}"), ["1:5"]);
  assert.deepEqual(lengths("const f = (a: number) => {", "  a++;", "};"), ["1:3"]);
  assert.deepEqual(lengths("return {", "  read: (d) => {", "    d++;", "  },", "};"), ["2:3"]);
});

test("functionsOf: blocks, types and what only looks like code are no functions", () => {
  assert.deepEqual(lengths("if (a) {", "}", "for (const b of c) {", "}", "switch (d) {", "}"), []);
  assert.deepEqual(
    lengths("interface A {", "  b(): void;", "}", "try {", "} catch (e) {", "}"),
    [],
  );
  assert.deepEqual(lengths("const a = `function f() {`;", "// f() {", "/* g() { */"), []);
  assert.deepEqual(lengths("const a = /f\\(\\) {/;", "const b = 'f() {';"), []);
});
