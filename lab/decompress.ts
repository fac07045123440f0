/**
 * Decompresses `.xz` where no `xz` command is installed: a minimal Debian has `dpkg-deb`, which
 * unpacks the data member of a package without looking at what is in it.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream, createWriteStream, rmSync, statSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { pipeline } from "node:stream/promises";

const MAGIC = "!<arch>\n";

/** The header of a member of an `ar` archive (ar(5)): 60 bytes of text. */
export function memberHeader(name: string, size: number): string {
  const field = (text: string, width: number): string => text.padEnd(width);
  const mode = field("0", 12) + field("0", 6) + field("0", 6) + field("100644", 8);
  return `${field(name, 16)}${mode}${field(String(size), 10)}\`\n`;
}

/** Decompresses the file `source` to the file `target`. */
export async function decompressXz(source: string, target: string): Promise<void> {
  const archive = `${target}.deb`;
  try {
    await wrap(source, archive);
    const child = spawn("dpkg-deb", ["--fsys-tarfile", archive], { stdio: ["ignore", "pipe", 2] });
    const closed = once(child, "close");
    await pipeline(child.stdout!, createWriteStream(target));
    const [status] = (await closed) as [number];
    if (status !== 0) throw new Error(`cannot decompress ${source}: dpkg-deb ended with ${status}`);
  } finally {
    rmSync(archive, { force: true });
  }
}

/** Makes `source` the data member of a package that has nothing else. */
async function wrap(source: string, archive: string): Promise<void> {
  const { size } = statSync(source);
  const file: FileHandle = await open(archive, "w");
  try {
    const version = "2.0\n";
    await file.write(MAGIC + memberHeader("debian-binary", version.length) + version);
    await file.write(memberHeader("control.tar", 0));
    await file.write(memberHeader("data.tar.xz", size));
    for await (const chunk of createReadStream(source)) await file.write(chunk as Buffer);
    if (size % 2 === 1) await file.write("\n");
  } finally {
    await file.close();
  }
}
