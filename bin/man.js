#!/usr/bin/env node
/**
 * Writes the man pages, docs/man/*.1, from the verbs' definitions. A test checks that they are up
 * to date.
 */

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { manPages } from "../dist/src/cli/man-pages.js";

const folder = resolve(import.meta.dirname, "../docs/man");
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
for (const [name, text] of await manPages()) writeFileSync(join(folder, name), text);
