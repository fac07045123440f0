import assert from "node:assert/strict";
import { test } from "node:test";
import { ViaductError } from "../src/sys/sys-error.ts";
import { PackageSource, parseIndex, releaseHash } from "./packages.ts";

const stanza = (name: string, version: string, more = ""): string =>
  `Package: ${name}\nVersion: ${version}\nFilename: pool/${name}_${version}.deb\nSize: 10\n` +
  `SHA256: ${"0".repeat(64)}\n${more}\n`;

const INDEX = [
  stanza("tool", "1.9-1"),
  stanza("tool", "1.10-1", "Pre-Depends: libc6 (>= 2.36)\nDepends: gone | libb:any (= 1), dpkg\n"),
  stanza("tool", "1.2-1"),
  stanza("libc6", "2.41-1"),
  stanza("libb", "1", "Depends: virtual [amd64], tool\n"),
  stanza("provider", "3", "Provides: virtual (= 3), other\n"),
  stanza("broken", "1", "Depends: nowhere\n"),
].join("\n");

test("parseIndex keeps the newest version, alternatives and provides", () => {
  const index = parseIndex(INDEX);
  const tool = index.get("tool")!;
  assert.equal(tool.version, "1.10-1");
  assert.deepEqual(tool.depends, [["libc6"], ["gone", "libb"], ["dpkg"]]);
  assert.deepEqual(index.get("provider")!.provides, ["virtual", "other"]);
});

test("resolve follows dependencies through provides and circles, and leaves machinery out", () => {
  const source = new PackageSource([parseIndex(INDEX)]);
  const names = source.resolve(["tool"]).map(({ name }) => name);
  assert.deepEqual(names.sort(), ["libb", "libc6", "provider", "tool"]);
});

test("resolve takes a package from the first suite that has it", () => {
  const newer = parseIndex(stanza("libc6", "2.42-1"));
  const source = new PackageSource([newer, parseIndex(INDEX)]);
  assert.equal(source.resolve(["libc6"])[0]!.version, "2.42-1");
});

test("resolve refuses a package that no suite has, and names it", () => {
  const source = new PackageSource([parseIndex(INDEX)]);
  assert.throws(
    () => source.resolve(["absent"]),
    (error: unknown) => {
      return error instanceof ViaductError && error.message.includes("absent");
    },
  );
});

test("releaseHash takes the SHA256 of exactly the named file", () => {
  const [a, b] = ["a".repeat(64), "b".repeat(64)];
  const text = `MD5Sum:\n ${"c".repeat(32)} 1 main/Packages.xz\nSHA256:\n ${a} 5 main/Packages\n ${b} 6 main/Packages.xz\n`;
  assert.equal(releaseHash(text, "main/Packages.xz"), b);
  assert.throws(() => releaseHash(text, "other/Packages.xz"), /no SHA256/);
});
