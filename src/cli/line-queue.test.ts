import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { LineQueue } from "./line-queue.ts";

const dropped = (count: number) => `dropped ${count}`;

class Folder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "viaduct-lines-"));
  readonly file = join(this.path, "file");
  read = () => readFileSync(this.file, "utf8").split("\n").slice(0, -1);
  [Symbol.dispose] = () => rmSync(this.path, { recursive: true });
}

const unexpected = (error: Error) => assert.ifError(error);

test("LineQueue: a reader that does not read yet holds nobody up, and misses nothing", async () => {
  using folder = new Folder();
  spawnSync("mkfifo", [folder.file]);
  const reader = spawn("sh", ["-c", `read go; cat ${folder.file}`]);
  const output = new Promise<string>((resolve) => {
    let text = "";
    reader.stdout.on("data", (chunk) => {
      text += chunk;
    });
    reader.on("close", () => resolve(text));
  });
  // For reading too: opening it for writing alone waits for a reader.
  const queue = new LineQueue(openSync(folder.file, "r+"), { dropped, failed: unexpected });
  const lines = Array.from({ length: 20_000 }, (_, i) => `${i} ${"x".repeat(50)}`);
  // More than a pipe holds: a write that waits would end the test here.
  for (const line of lines) queue.write(line);
  reader.stdin.write("go\n");
  await queue[Symbol.asyncDispose]();
  assert.deepEqual((await output).split("\n"), [...lines, ""]);
});

test("LineQueue: lines over the limit are dropped, and the next one says how many", async () => {
  using folder = new Folder();
  const fd = openSync(folder.file, "w");
  const queue = new LineQueue(fd, { dropped, failed: unexpected, pendingMax: 10 });
  for (const line of ["first", "second", "third", "fourth"]) queue.write(line);
  while (folder.read().length < 2) await new Promise((resolve) => setImmediate(resolve));
  queue.write("fifth");
  await queue[Symbol.asyncDispose]();
  assert.deepEqual(folder.read(), ["first", "second", "dropped 2", "fifth"]);
});

test("LineQueue: a place that cannot be written to is told of once", async () => {
  const readOnly = openSync("/dev/null", "r");
  const failures: string[] = [];
  const failed = (error: Error) => void failures.push((error as NodeJS.ErrnoException).code!);
  const queue = new LineQueue(readOnly, { dropped, failed });
  queue.write("a line");
  while (failures.length === 0) await new Promise((resolve) => setImmediate(resolve));
  queue.write("another");
  await queue[Symbol.asyncDispose]();
  assert.deepEqual(failures, ["EBADF"]);
  assert.throws(() => closeSync(readOnly), { code: "EBADF" });
});
