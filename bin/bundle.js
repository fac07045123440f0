/**
 * Joins the compiled modules of the command line into one file with V8's compiled code beside it,
 * because loading 90 modules takes most of the time from `viaduct run` to the guest's first
 * instruction. dist/bundle/ then holds:
 *
 *     modules.js    an object: module path -> function
 *     modules.cache what V8 made of it, for this version of Node
 *     load.cjs      evaluates a module with all it imports, each once
 *     vcpu-entry.cjs  the vCPU's Worker
 *
 * Knows the forms of import and export that the compiler emits, and refuses others.
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");
const from = join(root, "dist/src");
const to = join(root, "dist/bundle");
/** Starts here; what they import, also later, comes along. */
const ENTRIES = ["cli/main.js", "machine/vcpu-entry.js"];
/** Evaluated before the code is cached, so that the cache holds what a run needs. */
const WARM = ["cli/main.js", "cli/run.js", "machine/machine.js", "machine/console.js"];

const names = (list) =>
  list
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "")
    .map((item) => item.split(/\s+as\s+/));

/** One module as the body of a function of `exports`, `load`, `require` and `__url`. */
function convert(file, text, found) {
  const id = (specifier) => {
    const path = relative(from, resolve(dirname(join(from, file)), specifier));
    found(path);
    return JSON.stringify(path);
  };
  const source = (specifier) =>
    specifier.startsWith(".") ? `load(${id(specifier)})` : `require("${specifier}")`;
  const exported = [];
  const body = text
    .replace(/^\/\/# sourceMappingURL=.*$/m, "")
    .replace(/^export \{\s*\};$/gm, "")
    .replace(/^export \{([^}]*)\} from "([^"]+)";$/gm, (_, list, specifier) =>
      names(list)
        .map(([name, as = name]) => `exports.${as} = ${source(specifier)}.${name};`)
        .join(" "),
    )
    .replace(/^import \{([^}]*)\} from "([^"]+)";$/gm, (_, list, specifier) => {
      const picked = names(list).map(([name, as]) => (as ? `${name}: ${as}` : name));
      return `const { ${picked.join(", ")} } = ${source(specifier)};`;
    })
    .replace(/^import (?:\* as )?(\w+) from "([^"]+)";$/gm, (_, name, specifier) => {
      return `const ${name} = ${source(specifier)};`;
    })
    .replace(/\bimport\("(\.[^"]+)"\)/g, (_, specifier) => {
      return `Promise.resolve().then(() => ${source(specifier)})`;
    })
    .replace(/new URL\("\.\/(.*)\.js", import\.meta\.url\)/g, 'new URL("./$1.cjs", __url)')
    .replace(/^export const \{([^}]*)\} =/gm, (_, list) => {
      exported.push(...names(list).map(([name, as = name]) => as));
      return `const {${list}} =`;
    })
    .replace(/^export ((?:async )?function\*?|class|const|let) (\w+)/gm, (_, kind, name) => {
      exported.push(name);
      return `${kind} ${name}`;
    });
  const left = /^(?:import|export)\b.*|\bimport\.meta\b.*/m.exec(body);
  if (left !== null) throw new Error(`${file}: cannot bundle: ${left[0]}`);
  return `"use strict";\n${body}\nObject.assign(exports, { ${exported.join(", ")} });`;
}

const modules = new Map();
const pending = [...ENTRIES];
for (let file = pending.pop(); file !== undefined; file = pending.pop()) {
  if (modules.has(file)) continue;
  modules.set(file, "");
  const text = readFileSync(join(from, file), "utf8");
  modules.set(
    file,
    convert(file, text, (other) => pending.push(other)),
  );
}

const LOADER = `"use strict";
const { existsSync, readFileSync } = require("node:fs");
const { join } = require("node:path");
const { pathToFileURL } = require("node:url");
const { Script } = require("node:vm");

const filename = join(__dirname, "modules.js");
const cache = join(__dirname, "modules.cache");
const cachedData = existsSync(cache) ? readFileSync(cache) : undefined;
const script = new Script(readFileSync(filename, "utf8"), { filename, cachedData });
const modules = script.runInThisContext();

/** Loading node:assert costs a tenth of a start; a program without a bug never needs it. */
const check = (value, ...rest) => {
  if (!value) require("node:assert/strict")(value, ...rest);
};
const assert = new Proxy(check, {
  get: (_, name) => (name === "ok" ? check : require("node:assert/strict")[name]),
});
const requireLazily = (name) => (name === "node:assert/strict" ? assert : require(name));
const loaded = new Map();
const url = pathToFileURL(__filename).href;

function load(path) {
  const known = loaded.get(path);
  if (known !== undefined) return known;
  const exports = {};
  loaded.set(path, exports);
  modules[path](exports, load, requireLazily, url);
  return exports;
}

module.exports = { load, script };
`;

const WORKER = `"use strict";
require("./load.cjs").load("machine/vcpu-entry.js");
`;

const body = [...modules].map(
  ([file, code]) =>
    `${JSON.stringify(file)}: function (exports, load, require, __url) {\n${code}\n},`,
);
rmSync(to, { recursive: true, force: true });
mkdirSync(to, { recursive: true });
writeFileSync(join(to, "modules.js"), `({\n${body.join("\n")}\n})`);
writeFileSync(join(to, "load.cjs"), LOADER);
writeFileSync(join(to, "vcpu-entry.cjs"), WORKER);
const warm = `
  const { load, script } = require(${JSON.stringify(join(to, "load.cjs"))});
  for (const path of ${JSON.stringify(WARM)}) load(path);
  require("node:fs").writeFileSync(${JSON.stringify(join(to, "modules.cache"))},
    script.createCachedData());`;
const { status, stderr } = spawnSync(process.execPath, ["-e", warm], { encoding: "utf8" });
if (status !== 0) {
  rmSync(to, { recursive: true });
  process.stderr.write(`bundle: ${stderr}`);
  process.exit(1);
}
