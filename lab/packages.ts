/**
 * Debian packages without apt: a suite's index is read from the mirror, dependencies are resolved
 * (first alternative that is there), and each package is downloaded by its `Filename`, checked
 * against its SHA256 and kept in the cache. deb-control(5) has the fields.
 */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { gunzipSync } from "node:zlib";
import { ViaductError } from "../src/sys/sys-error.ts";
import { debianMirror } from "./apt-sources.ts";
import { cached, keyOf } from "./cache.ts";
import { progress } from "./progress.ts";

export interface Package {
  readonly name: string;
  readonly version: string;
  readonly filename: string;
  readonly sha256: string;
  readonly size: number;
  /** Each entry is a list of alternatives. */
  readonly depends: readonly (readonly string[])[];
  readonly provides: readonly string[];
}

/** What maintains a system rather than runs in a prefix. */
const LEFT_OUT = new Set([
  ..."adduser debconf debconf-2.0 dpkg init-system-helpers login.defs passwd perl-base".split(" "),
  ..."libpam0g libpam-modules libpam-modules-bin libpam-runtime sensible-utils tar".split(" "),
]);

/** A day: an index older than that may name packages the mirror has replaced. */
const INDEX_AGE_DAYS = 1;
const ATTEMPTS = 3;

function names(field: string): string[][] {
  const bare = (text: string) => text.trim().replace(/[\s(:[].*$/s, "");
  return field
    .split(",")
    .filter((entry) => entry.trim() !== "")
    .map((entry) => entry.split("|").map(bare));
}

/** Reads a Packages index. Of several versions of a package the last one counts: the newest. */
export function parseIndex(text: string): Map<string, Package> {
  const packages = new Map<string, Package>();
  for (const stanza of text.split("\n\n")) {
    const fields = new Map<string, string>();
    for (const [, key, value] of stanza.matchAll(/^([A-Za-z0-9-]+): (.*)$/gm)) {
      fields.set(key!, value!);
    }
    const field = (name: string) => fields.get(name) ?? "";
    if (!fields.has("Package") || !fields.has("Filename")) continue;
    packages.set(field("Package"), {
      name: field("Package"),
      version: field("Version"),
      filename: field("Filename"),
      sha256: field("SHA256"),
      size: Number(field("Size")),
      depends: names(`${field("Pre-Depends")},${field("Depends")}`),
      provides: names(field("Provides")).flat(),
    });
  }
  return packages;
}

/** Several suites as one: the first that has a package wins. */
export class PackageSource {
  readonly #indexes: ReadonlyArray<Map<string, Package>>;
  readonly #providers = new Map<string, Package>();

  constructor(indexes: ReadonlyArray<Map<string, Package>>) {
    this.#indexes = indexes;
    for (const one of indexes.flatMap((index) => [...index.values()])) {
      for (const name of one.provides) {
        if (!this.#providers.has(name)) this.#providers.set(name, one);
      }
    }
  }

  /** @param suites most wanted first: `["trixie-backports", "trixie"]` */
  static async open(suites: readonly string[]): Promise<PackageSource> {
    return new PackageSource(await Promise.all(suites.map(readIndex)));
  }

  find(name: string): Package | undefined {
    const index = this.#indexes.find((one) => one.has(name));
    return index?.get(name) ?? this.#providers.get(name);
  }

  /** The newest package whose name matches, by the suites' order and then by version. */
  newest(pattern: RegExp): Package | undefined {
    const byVersion = (a: Package, b: Package) =>
      a.version.localeCompare(b.version, "en", { numeric: true });
    for (const index of this.#indexes) {
      const found = [...index.values()].filter(({ name }) => pattern.test(name)).sort(byVersion);
      if (found.length > 0) return found.at(-1);
    }
    return undefined;
  }

  /** `wanted` and all they depend on. @throws {ViaductError} LAB_FAILED for a package not there */
  resolve(wanted: readonly string[]): Package[] {
    const found = new Map<string, Package>();
    const open = [...wanted];
    for (let name = open.pop(); name !== undefined; name = open.pop()) {
      if (LEFT_OUT.has(name)) continue;
      const one = this.find(name);
      if (!one) {
        throw new ViaductError("LAB_FAILED", `package ${name} is in none of the mirror's suites`, {
          nextStep: "check VIADUCT_LAB_MIRROR, or try a mirror that carries backports",
        });
      }
      if (found.has(one.name)) continue;
      found.set(one.name, one);
      for (const alternatives of one.depends) {
        const chosen = alternatives.find((each) => LEFT_OUT.has(each) || this.find(each));
        if (chosen !== undefined) open.push(chosen);
      }
    }
    return [...found.values()];
  }
}

async function download(url: string): Promise<Buffer> {
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(10 * 60_000) });
      if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
      return Buffer.from(await response.arrayBuffer());
    } catch (error) {
      if (attempt < ATTEMPTS) continue;
      throw new ViaductError("LAB_FAILED", `cannot download ${url}: ${(error as Error).message}`, {
        cause: error,
        nextStep: "check the network and the mirror, then run the command again",
      });
    }
  }
}

/** The index compressed as this machine can read it: xz where it is installed, else gzip. */
async function readIndex(suite: string): Promise<Map<string, Package>> {
  const today = Math.floor(Date.now() / 86_400_000 / INDEX_AGE_DAYS);
  const mirror = debianMirror();
  const path = await cached(`index/${suite}-${keyOf(mirror)}-${today}`, async (scratch) => {
    const base = `${mirror}/dists/${suite}/main/binary-amd64/Packages`;
    progress(`reading the index of ${suite}`);
    writeFileSync(scratch, await unpackIndex(base));
  });
  return parseIndex(readFileSync(path, "utf8"));
}

async function unpackIndex(base: string): Promise<Buffer> {
  try {
    const xz = await download(`${base}.xz`);
    return execFileSync("xz", ["-dc"], { input: xz, maxBuffer: 2 ** 30 });
  } catch {
    return gunzipSync(await download(`${base}.gz`)); // no xz on this machine
  }
}

/**
 * What `choose` finds in the suites, remembered: an index is large, and a machine keeps the
 * versions it began with until `lab clean`.
 * @param name of the memory, unique for what is chosen
 */
export async function chosenPackages(
  name: string,
  suites: readonly string[],
  choose: (source: PackageSource) => Package[],
): Promise<Package[]> {
  const key = keyOf(debianMirror(), ...suites, choose.toString());
  const path = await cached(`chosen/${name}-${key}.json`, async (scratch) => {
    writeFileSync(scratch, JSON.stringify(choose(await PackageSource.open(suites))));
  });
  return JSON.parse(readFileSync(path, "utf8")) as Package[];
}

/** The package's file in the cache, downloaded and checked when it is not there. */
export async function fetchPackage(one: Package): Promise<string> {
  return cached(`debs/${basename(one.filename)}`, async (scratch) => {
    if (one.size > 5_000_000) {
      progress(`downloading ${one.name} ${one.version}, ${(one.size / 1e6).toFixed(0)} MB`);
    }
    const bytes = await download(`${debianMirror()}/${one.filename}`);
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    if (sha256 !== one.sha256) {
      throw new ViaductError(
        "LAB_FAILED",
        `${one.filename}: SHA256 is ${sha256}, the index says ${one.sha256}`,
        { nextStep: "run the command again: the mirror may be in the middle of an update" },
      );
    }
    writeFileSync(scratch, bytes);
  });
}
