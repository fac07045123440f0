/**
 * lspci as an oracle: what it prints of configuration spaces in a hex dump.
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lspciCommand } from "../../lab/pciutils.ts";

/** What `lspci -xxxx` prints of a device; the form that `lspci -F` reads. */
function hexDump(bytes: Uint8Array, address: string): string {
  const lines = [`${address} Device: from a test`];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)].map((byte) => byte.toString(16).padStart(2, "0"));
    lines.push(`${at.toString(16).padStart(2, "0")}: ${row.join(" ")}`);
  }
  return `${lines.join("\n")}\n\n`;
}

/** The lines of `lspci -vvv` below a device's name, for each configuration space alone. */
export async function lspciLines(spaces: readonly Uint8Array[]): Promise<string[][]> {
  const folder = mkdtempSync(join(tmpdir(), "viaduct-lspci-"));
  const file = join(folder, "dump.txt");
  const { program, args } = await lspciCommand(["-F", file, "-D", "-vvv"]);
  // One domain each: a device's text may depend on those above it.
  const address = (at: number) => `${at.toString(16).padStart(4, "0")}:00:00.0`;
  try {
    writeFileSync(file, spaces.map((bytes, at) => hexDump(bytes, address(at))).join(""));
    const { stdout } = spawnSync(program, args, { encoding: "utf8", maxBuffer: 64 << 20 });
    const texts = new Map(
      stdout.split("\n\n").map((text) => {
        const [head = "", ...lines] = text.split("\n");
        return [head.split(" ")[0], lines] as const;
      }),
    );
    return spaces.map((_, at) => texts.get(address(at)) ?? []);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
