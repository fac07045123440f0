#!/usr/bin/env node
/**
 * Puts the command line and the vCPU's Worker into one file each, with the machine code that V8
 * made of it (dist/bundle/). Loading and compiling a hundred modules otherwise takes most of the
 * time from exec to the guest's first instruction (docs/benchmarks.md). The compiled modules remain
 * what the library exports and the tests run.
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { buildSync } from "esbuild";

const root = resolve(import.meta.dirname, "..");
const to = join(root, "dist/bundle");

/** Loads a bundle by name, from V8's cache where that fits this version of Node. */
const LOADER = `"use strict";
const { existsSync, readFileSync } = require("node:fs");
const { createRequire, wrap } = require("node:module");
const { Script } = require("node:vm");

exports.load = (name) => {
  const filename = require("node:path").join(__dirname, name + ".bundle.js");
  const cache = filename + ".cache";
  const cachedData = existsSync(cache) ? readFileSync(cache) : undefined;
  const script = new Script(wrap(readFileSync(filename, "utf8")), { filename, cachedData });
  const module = { exports: {} };
  script.runInThisContext()(module.exports, createRequire(filename), module, filename, __dirname);
  return { exports: module.exports, script };
};
`;

/** Loads a bundle, runs `warm` so that lazily compiled code is in the cache too, and keeps it. */
function keepCompiled(name, warm) {
  const cache = JSON.stringify(join(to, `${name}.bundle.js.cache`));
  const program = `
    const { exports, script } = require(${JSON.stringify(join(to, "load.js"))}).load("${name}");
    (async () => {
      ${warm}
      require("node:fs").writeFileSync(${cache}, script.createCachedData());
    })();`;
  const { status, stderr } = spawnSync(process.execPath, ["-e", program], { encoding: "utf8" });
  if (status === 0) return;
  rmSync(to, { recursive: true });
  process.stderr.write(`bundle: ${stderr}`);
  process.exit(1);
}

rmSync(to, { recursive: true, force: true });
mkdirSync(to, { recursive: true });
buildSync({
  absWorkingDir: root,
  entryPoints: {
    "main.bundle": "dist/src/cli/main.js",
    "vcpu-entry.bundle": "dist/src/machine/vcpu-entry.js",
  },
  outdir: to,
  bundle: true,
  platform: "node",
  format: "cjs",
  target: "node20",
  external: ["koffi"],
  define: { "import.meta.url": "__url" },
  banner: { js: 'const __url = require("node:url").pathToFileURL(__filename).href;' },
  logLevel: "warning",
});
writeFileSync(join(to, "package.json"), '{ "type": "commonjs" }\n');
writeFileSync(join(to, "load.js"), LOADER);
// The name by which the machine starts its Workers.
writeFileSync(join(to, "vcpu-entry.js"), 'require("./load.js").load("vcpu-entry");\n');
// Refused for its kernel, after all that a run needs is loaded.
keepCompiled("main", 'await exports.main(["run", "--kernel", "/dev/null"]);');
