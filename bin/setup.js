#!/usr/bin/env node
/**
 * Brings a checkout to where its commands can run: dependencies installed as the lock file says,
 * TypeScript compiled. Does nothing that is already done. Plain JavaScript, because nothing is
 * compiled yet when it starts.
 */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");
const stamp = join(root, "node_modules", ".viaduct-lock");

function run(title, command, args) {
  const started = Date.now();
  process.stderr.write(`${title} ... `);
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
  });
  if (status !== 0) {
    process.stderr.write(`failed\n${stdout ?? ""}${stderr ?? ""}${error?.message ?? ""}\n`);
    process.exit(1);
  }
  process.stderr.write(`${((Date.now() - started) / 1000).toFixed(1)} s\n`);
}

const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  process.stderr.write(`viaduct needs Node.js 20.19 or later; this is ${process.version}\n`);
  process.exit(1);
}
const lock = createHash("sha256")
  .update(readFileSync(join(root, "package-lock.json")))
  .digest("hex");
if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== lock) {
  // Not `npm ci`: it refuses where a mirror lacks the optional binaries of other platforms.
  const flags = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund"];
  run("Installing dependencies", "npm", ["install", ...flags]);
  writeFileSync(stamp, lock);
}
run("Compiling", process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", root]);
run("Bundling", process.execPath, [join(root, "bin/bundle.js")]);
