import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";

const root = resolve(import.meta.dirname, "../../..");
const node = (...args: string[]) => spawnSync(process.execPath, args, { encoding: "utf8" });

test("the bundle says what the modules say, and is not used when it is older", () => {
  const copy = mkdtempSync(join(tmpdir(), "viaduct-bundle-"));
  try {
    cpSync(join(root, "dist/src"), join(copy, "dist/src"), { recursive: true });
    cpSync(join(root, "bin"), join(copy, "bin"), { recursive: true });
    copyFileSync(join(root, "package.json"), join(copy, "package.json"));
    symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
    const command = join(copy, "bin/viaduct.js");
    const modules = node(command, "run", "--help");
    assert.equal(modules.status, 0, modules.stderr);
    const bundled = node(join(copy, "bin/bundle.js"));
    assert.equal(bundled.status, 0, bundled.stderr);
    // What is not in the bundle cannot be reached any more.
    rmSync(join(copy, "dist/src"), { recursive: true });
    const bundle = node(command, "run", "--help");
    assert.equal(bundle.status, 0, bundle.stderr);
    assert.equal(bundle.stdout, modules.stdout);
    const refusal = node(command, "run", "--kernel", "/nowhere/vmlinuz");
    assert.match(refusal.stderr, /\/nowhere\/vmlinuz: Cannot read the kernel/);
    assert.doesNotMatch(refusal.stderr, /internal error/);
  } finally {
    rmSync(copy, { recursive: true });
  }
});
