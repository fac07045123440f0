/**
 * lspci as an oracle: reads a configuration space from a hex dump and prints what it makes of it.
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export function hasLspci(): boolean {
  return spawnSync("lspci", ["--version"]).status === 0;
}

/** What `lspci -x` would print: the form that `lspci -F` reads. */
export function hexDump(bytes: Uint8Array, address = "00:00.0"): string {
  const lines = [`${address} Device: from a test`];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)].map((byte) => byte.toString(16).padStart(2, "0"));
    lines.push(`${at.toString(16).padStart(2, "0")}: ${row.join(" ")}`);
  }
  return `${lines.join("\n")}\n\n`;
}

/** Reads such dumps: address -> bytes. */
export function parseHexDumps(text: string): Map<string, Uint8Array> {
  const found = new Map<string, number[]>();
  let bytes: number[] | undefined;
  for (const line of text.split("\n")) {
    const head = /^([0-9a-f:]+\.[0-7]) /.exec(line);
    const row = /^([0-9a-f]{2,3}): ((?:[0-9a-f]{2} ?)+)$/.exec(line.trimEnd());
    if (head !== null) {
      bytes = [];
      found.set(head[1]!, bytes);
    } else if (row !== null) {
      bytes?.push(
        ...row[2]!
          .trim()
          .split(" ")
          .map((text) => Number.parseInt(text, 16)),
      );
    }
  }
  return new Map([...found].map(([address, all]) => [address, Uint8Array.from(all)]));
}

/** The lines of `lspci -vvv` for each dump, without the device's name and the subsystem's. */
export function lspciLines(dumps: readonly string[]): string[][] {
  const folder = mkdtempSync(join(tmpdir(), "viaduct-lspci-"));
  try {
    return dumps.map((dump, at) => {
      const file = join(folder, `${at}.txt`);
      writeFileSync(file, dump);
      const { stdout } = spawnSync("lspci", ["-F", file, "-vvv"], { encoding: "utf8" });
      return stdout
        .trimEnd()
        .split("\n")
        .slice(1)
        .filter((line) => !/^\t(Subsystem|!!!|DeviceName)/.test(line));
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
