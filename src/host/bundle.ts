/**
 * A report's bundle: a host's files in a gzipped tar (POSIX ustar), as a tree in memory. What `tar`
 * packs of a captured folder can be read too. Everything in it is another's input: sizes are
 * bounded, names stay inside, and damage is an error with a reason.
 */

import { normalize } from "node:path/posix";
import { gunzipSync, gzipSync } from "node:zlib";
import { ViaductError } from "../sys/sys-error.ts";
import type { MemoryEntry } from "./tree-source.ts";

const BLOCK = 512;
const NAME_MAX = 100;
const PREFIX_MAX = 155;
/** Unpacked; a large host's report is some ten MiB. */
const BYTES_MAX = 256 << 20;

/** Packs a tree: absolute paths become relative ones. */
export function packBundle(entries: ReadonlyMap<string, MemoryEntry>): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (const [path, entry] of [...entries].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (entry.kind === "denied") continue;
    const header = headerOf(path.replace(/^\/+/, ""), entry);
    // A name or link too long for ustar is left out.
    if (header === undefined) continue;
    blocks.push(header);
    if (entry.kind !== "file") continue;
    const padded = new Uint8Array(Math.ceil(entry.bytes.length / BLOCK) * BLOCK);
    padded.set(entry.bytes);
    blocks.push(padded);
  }
  blocks.push(new Uint8Array(2 * BLOCK));
  return gzipSync(Buffer.concat(blocks));
}

function headerOf(name: string, entry: Exclude<MemoryEntry, { kind: "denied" }>) {
  const header = new Uint8Array(BLOCK);
  const put = (at: number, text: string) => header.set(new TextEncoder().encode(text), at);
  const number = (at: number, length: number, value: number) =>
    put(at, value.toString(8).padStart(length - 1, "0"));
  const split = splitName(entry.kind === "folder" ? `${name}/` : name);
  if (split === undefined) return undefined;
  put(0, split.name);
  put(345, split.prefix);
  const isDevice = entry.kind === "device";
  const mode = isDevice ? entry.mode : entry.kind === "file" ? (entry.mode ?? 0o644) : 0o755;
  number(100, 8, mode);
  number(108, 8, isDevice ? (entry.uid ?? 0) : 0);
  number(116, 8, isDevice ? (entry.gid ?? 0) : 0);
  number(124, 12, entry.kind === "file" ? entry.bytes.length : 0);
  number(136, 12, 0);
  put(156, { file: "0", device: "0", link: "2", folder: "5" }[entry.kind]);
  if (entry.kind === "link") {
    if (entry.target.length > NAME_MAX) return undefined;
    put(157, entry.target);
  }
  put(257, "ustar\u000000");
  put(148, "        ");
  number(
    148,
    7,
    header.reduce((sum, byte) => sum + byte, 0),
  );
  return header;
}

function splitName(path: string): { name: string; prefix: string } | undefined {
  if (path.length <= NAME_MAX) return { name: path, prefix: "" };
  for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) {
    if (at <= PREFIX_MAX && path.length - at - 1 <= NAME_MAX) {
      return { name: path.slice(at + 1), prefix: path.slice(0, at) };
    }
  }
  return undefined;
}

/**
 * Unpacks a bundle.
 * @throws {ViaductError} USAGE: not gzip or tar, truncated, too large
 */
export function unpackBundle(name: string, packed: Uint8Array): Map<string, MemoryEntry> {
  const bytes = unzip(name, packed);
  const entries = new Map<string, MemoryEntry>();
  let at = 0;
  while (at + BLOCK <= bytes.length) {
    const header = bytes.subarray(at, at + BLOCK);
    if (header.every((byte) => byte === 0)) return entries;
    const size = octal(header, 124, 12);
    if (!hasChecksum(header)) throw damaged(name, `no tar header at byte ${at}`);
    if (size === undefined || at + BLOCK + size > bytes.length) throw damaged(name, "truncated");
    const path = pathOf(header);
    const content = bytes.subarray(at + BLOCK, at + BLOCK + size);
    const entry = entryOf(header, path, content);
    if (entry !== undefined) entries.set(path, entry);
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  throw damaged(name, "truncated");
}

function unzip(name: string, packed: Uint8Array): Uint8Array {
  if (packed[0] !== 0x1f || packed[1] !== 0x8b) return packed;
  try {
    return gunzipSync(packed, { maxOutputLength: BYTES_MAX });
  } catch (cause) {
    throw damaged(name, cause instanceof Error ? cause.message : "not gzip");
  }
}

function damaged(name: string, why: string): ViaductError {
  return new ViaductError("USAGE", `${name}: not a readable bundle: ${why}`, {
    nextStep: "Ask for it again; `viaduct report -o FILE.tgz` makes one.",
  });
}

function text(header: Uint8Array, at: number, length: number): string {
  const field = header.subarray(at, at + length);
  const end = field.indexOf(0);
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end));
}

function octal(header: Uint8Array, at: number, length: number): number | undefined {
  const digits = text(header, at, length).trim();
  return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : undefined;
}

function hasChecksum(header: Uint8Array): boolean {
  let sum = 0;
  header.forEach((byte, at) => {
    sum += at >= 148 && at < 156 ? 0x20 : byte;
  });
  return octal(header, 148, 8) === sum;
}

function pathOf(header: Uint8Array): string {
  const isUstar = text(header, 257, 5) === "ustar";
  const prefix = isUstar ? text(header, 345, PREFIX_MAX) : "";
  const full = prefix === "" ? text(header, 0, NAME_MAX) : `${prefix}/${text(header, 0, NAME_MAX)}`;
  const path = normalize(`/${full}`);
  return path.length > 1 ? path.replace(/\/+$/, "") : path;
}

function entryOf(header: Uint8Array, path: string, bytes: Uint8Array): MemoryEntry | undefined {
  const type = String.fromCharCode(header[156] ?? 0);
  const mode = octal(header, 100, 8) ?? 0;
  if (type === "2") return { kind: "link", target: text(header, 157, NAME_MAX) };
  if (type === "5") return { kind: "folder" };
  if (type !== "0" && type !== "\u0000") return undefined;
  if (!path.startsWith("/dev/")) return { kind: "file", bytes, mode };
  const [uid, gid] = [octal(header, 108, 8) ?? 0, octal(header, 116, 8) ?? 0];
  return { kind: "device", mode, uid, gid };
}
