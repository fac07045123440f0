/**
 * Debian packages without apt: a suite's index is read from the mirror, dependencies are resolved
 * (first alternative that is there), and each package is downloaded by its `Filename`, checked
 * against its SHA256 and kept in the cache. deb-control(5) has the fields.
 */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ViaductError } from "../src/sys/sys-error.ts";
import { debianMirror } from "./apt-sources.ts";
import { cached, keyOf } from "./cache.ts";
import { decompressXz } from "./decompress.ts";
import { progress } from "./progress.ts";
import { compareVersions } from "./versions.ts";

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
const ATTEMPTS = 5;

function names(field: string): string[][] {
  const bare = (text: string) => text.trim().replace(/[\s(:[].*$/s, "");
  return field
    .split(",")
    .filter((entry) => entry.trim() !== "")
    .map((entry) => entry.split("|").map(bare));
}

/** Reads a Packages index. Of several versions of a package the newest counts. */
export function parseIndex(text: string): Map<string, Package> {
  const packages = new Map<string, Package>();
  for (const stanza of text.split("\n\n")) {
    const fields = new Map<string, string>();
    for (const [, key, value] of stanza.matchAll(/^([A-Za-z0-9-]+): (.*)$/gm)) {
      fields.set(key!, value!);
    }
    const field = (name: string) => fields.get(name) ?? "";
    if (!fields.has("Package") || !fields.has("Filename")) continue;
    const known = packages.get(field("Package"))?.version;
    if (known !== undefined && compareVersions(known, field("Version")) > 0) continue;
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
    const byVersion = (a: Package, b: Package) => compareVersions(a.version, b.version);
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

/** Mirrors and proxies refuse a client that asks for a hundred files at once. */
const AT_ONCE = 4;
let downloading = 0;
const waiting: Array<() => void> = [];

async function download(url: string): Promise<Buffer> {
  if (downloading >= AT_ONCE) await new Promise<void>((turn) => waiting.push(turn));
  downloading += 1;
  try {
    return await downloadNow(url);
  } finally {
    downloading -= 1;
    waiting.shift()?.();
  }
}

async function downloadNow(url: string): Promise<Buffer> {
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(10 * 60_000) });
      if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
      return Buffer.from(await response.arrayBuffer());
    } catch (error) {
      const { message, cause } = error as Error;
      const why = cause instanceof Error ? `${message}: ${cause.message}` : message;
      if (attempt < ATTEMPTS) {
        progress(`${url}: ${why}; trying again`);
        await delay(500 * 4 ** (attempt - 1));
        continue;
      }
      throw new ViaductError("LAB_FAILED", `cannot download ${url}: ${why}`, {
        cause: error,
        nextStep: "check the network and the mirror, then run the command again",
      });
    }
  }
}

async function readIndex(suite: string): Promise<Map<string, Package>> {
  const today = Math.floor(Date.now() / 86_400_000 / INDEX_AGE_DAYS);
  const mirror = debianMirror();
  const path = await cached(`index/${suite}-${keyOf(mirror)}-${today}`, async (scratch) => {
    const base = `${mirror}/dists/${suite}`;
    const name = "main/binary-amd64/Packages.xz";
    progress(`reading the index of ${suite}`);
    const release = await download(`${base}/InRelease`);
    checkSignature(release, `${base}/InRelease`);
    const packed = await download(`${base}/${name}`);
    checkSha256(packed, releaseHash(release.toString(), name), `${base}/${name}`);
    writeFileSync(`${scratch}.xz`, packed);
    await decompressXz(`${scratch}.xz`, scratch);
    rmSync(`${scratch}.xz`);
  });
  return parseIndex(readFileSync(path, "utf8"));
}

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/**
 * Checks a release file as apt does, where apt's own tool and keys are there. One good signature is
 * enough: releases carry several, and a machine may not have the newest key yet.
 */
function checkSignature(release: Uint8Array, url: string): void {
  if (!existsSync("/usr/bin/gpgv") || !existsSync(KEYRING)) return;
  const args = ["--status-fd", "1", "--keyring", KEYRING, "-"];
  const { stdout, stderr } = spawnSync("/usr/bin/gpgv", args, { input: release, encoding: "utf8" });
  if (/^\[GNUPG:\] GOODSIG /m.test(stdout) && !/^\[GNUPG:\] BADSIG /m.test(stdout)) return;
  throw new ViaductError("LAB_FAILED", `${url}: no valid signature: ${stderr.trim()}`, {
    nextStep: "install a current debian-archive-keyring, or use another mirror",
  });
}

/** The SHA256 that a release file gives for one of its suite's files. */
export function releaseHash(release: string, name: string): string {
  const section = release.slice(release.indexOf("\nSHA256:"));
  const line = section.split("\n").find((entry) => entry.endsWith(` ${name}`));
  const hash = line?.trim().split(/\s+/)[0];
  if (hash?.length === 64) return hash;
  throw new ViaductError("LAB_FAILED", `the suite's release file lists no SHA256 of ${name}`);
}

function checkSha256(bytes: Uint8Array, wanted: string, what: string): void {
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  if (sha256 === wanted) return;
  throw new ViaductError("LAB_FAILED", `${what}: SHA256 is ${sha256}, the index says ${wanted}`, {
    nextStep: "run the command again: the mirror may be in the middle of an update",
  });
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
    checkSha256(bytes, one.sha256, one.filename);
    writeFileSync(scratch, bytes);
  });
}
