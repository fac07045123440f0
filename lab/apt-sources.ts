/**
 * Which mirror serves Debian's packages here: `$VIADUCT_LAB_MIRROR`, else what this machine's apt
 * is configured with, in either format (sources.list(5): one line each, or deb822).
 */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ViaductError } from "../src/sys/sys-error.ts";

/** The archive URIs that a sources file names, with the suites they serve. */
export function parseSources(text: string): Array<{ uri: string; suites: string[] }> {
  const found: Array<{ uri: string; suites: string[] }> = [];
  for (const stanza of text.split(/\n\s*\n/)) {
    const field = (name: string) =>
      new RegExp(`^${name}:\\s*(.+)$`, "im").exec(stanza)?.[1]?.trim();
    const uris = field("URIs");
    if (uris !== undefined && field("Enabled") !== "no") {
      const suites = (field("Suites") ?? "").split(/\s+/);
      for (const uri of uris.split(/\s+/)) found.push({ uri, suites });
    }
  }
  for (const line of text.split("\n")) {
    const match = /^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)/.exec(line);
    if (match) found.push({ uri: match[1]!, suites: [match[2]!] });
  }
  return found;
}

/**
 * Debian's own archive, not the security archive or a vendor's: the one whose path ends in debian.
 */
export function chooseMirror(
  sources: ReadonlyArray<{ uri: string; suites: string[] }>,
): string | undefined {
  const plain = sources.map(({ uri }) => uri.replace(/\/+$/, ""));
  return plain.find((uri) => /^https?:.*\/debian$/.test(uri));
}

function aptFiles(): string[] {
  const folder = "/etc/apt/sources.list.d";
  const names = (() => {
    try {
      return readdirSync(folder).filter((name) => /\.(list|sources)$/.test(name));
    } catch {
      return []; // no such folder: there is only sources.list, or no apt at all
    }
  })();
  return [...names.map((name) => join(folder, name)), "/etc/apt/sources.list"];
}

/** @throws {ViaductError} LAB_FAILED when neither the environment nor apt names a mirror */
export function debianMirror(): string {
  const named = process.env["VIADUCT_LAB_MIRROR"];
  if (named !== undefined) return named.replace(/\/+$/, "");
  const sources = aptFiles().flatMap((file) => {
    try {
      return parseSources(readFileSync(file, "utf8"));
    } catch {
      return []; // unreadable or absent: the other files may name one
    }
  });
  const mirror = chooseMirror(sources);
  if (mirror !== undefined) return mirror;
  throw new ViaductError("LAB_FAILED", "no Debian mirror: apt's configuration here names none", {
    nextStep: "set VIADUCT_LAB_MIRROR to the URL of a Debian mirror (the folder that holds dists/)",
  });
}
