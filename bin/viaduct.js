#!/usr/bin/env node
/**
 * The command line: from the bundle (bundle.js) when that is as new as the compiled modules, else
 * from the modules themselves.
 */

import { statSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const path = (name) => fileURLToPath(new URL(`../dist/${name}`, import.meta.url));
const changed = (name) => statSync(path(name), { throwIfNoEntry: false })?.mtimeMs ?? 0;

async function mainModule() {
  const bundled = changed("bundle/main.bundle.js.cache");
  if (bundled === 0 || bundled < changed(".tsbuildinfo")) return import("../dist/src/cli/main.js");
  return createRequire(import.meta.url)(path("bundle/load.js")).load("main").exports;
}

const { main } = await mainModule();
process.exitCode = await main(process.argv.slice(2));
