import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { cpio } from "./cpio.ts";
import { memberHeader } from "./decompress.ts";

/** Reads an archive back by the format's own rules: `name:mode:content`. */
function list(archive: Buffer): string[] {
  const found: string[] = [];
  for (let at = 0; ; ) {
    assert.equal(archive.toString("latin1", at, at + 6), "070701");
    const field = (index: number): number =>
      Number.parseInt(archive.toString("latin1", at + 6 + 8 * index, at + 14 + 8 * index), 16);
    const [mode, size, nameSize] = [field(1), field(6), field(11)];
    const name = archive.toString("utf8", at + 110, at + 110 + nameSize - 1);
    const data = (at + 110 + nameSize + 3) & ~3;
    if (name === "TRAILER!!!") return found;
    found.push(`${name}:${mode.toString(8)}:${archive.toString("utf8", data, data + size)}`);
    at = (data + size + 3) & ~3;
  }
}

test("cpio writes files, folders and links that read back, whatever their length", () => {
  const archive = cpio([
    { name: "bin", mode: 0o755 },
    { name: "bin/a", mode: 0o755, content: Buffer.from("one") },
    { name: "bin/empty", mode: 0o644, content: new Uint8Array() },
    { name: "init", mode: 0o777, link: "bin/a" },
  ]);
  assert.deepEqual(list(archive), [
    "bin:40755:",
    "bin/a:100755:one",
    "bin/empty:100644:",
    "init:120777:bin/a",
  ]);
});

test("a member's header of an ar archive is 60 bytes and ends as ar(5) says", () => {
  const header = memberHeader("data.tar.xz", 12345);
  assert.equal(header.length, 60);
  assert.match(header, /^data\.tar\.xz {5}0 +0 +0 +100644 {2}12345 +`\n$/);
});

test("decompressXz gives back what was packed, by dpkg-deb alone", async (t) => {
  if (spawnSync("xz", ["--version"]).status !== 0) {
    t.skip("no xz here to pack with");
    return;
  }
  const { mkdtempSync, readFileSync, rmSync, writeFileSync } = await import("node:fs");
  const { join } = await import("node:path");
  const { decompressXz } = await import("./decompress.ts");
  const folder = mkdtempSync("/tmp/viaduct-xz-");
  try {
    for (const text of ["a", "ab\n".repeat(5000)]) {
      const packed = spawnSync("xz", ["-c"], { input: text }).stdout;
      writeFileSync(join(folder, "in.xz"), packed);
      await decompressXz(join(folder, "in.xz"), join(folder, "out"));
      assert.equal(readFileSync(join(folder, "out"), "utf8"), text);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
