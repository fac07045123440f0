/**
 * Where a host's files are read: on disk (the running host, or a captured tree in a folder), or in
 * memory (a bundle that was unpacked, a tree that a test built).
 */

import {
  closeSync,
  existsSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
} from "node:fs";
import { dirname, normalize } from "node:path/posix";

export interface FileStatus {
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly kind: "file" | "folder" | "device";
}

/** Paths are absolute, as on the host. Every method throws an error with an errno `code`. */
export interface TreeSource {
  text(path: string): string;
  bytes(path: string): Uint8Array;
  head(path: string, length: number): Uint8Array;
  names(path: string): string[];
  link(path: string): string;
  status(path: string): FileStatus;
  /** Is there such a thing, and may it be known? Throws nothing. */
  exists(path: string): boolean;
}

/** A tree on disk; `root` is "" for the running host. */
export class DiskSource implements TreeSource {
  private readonly root: string;

  constructor(root: string) {
    this.root = root.replace(/\/+$/, "");
  }

  /** Where a path of the host is. */
  protected place(path: string): string {
    return this.root + path;
  }

  text(path: string): string {
    return readFileSync(this.place(path), "utf8");
  }

  bytes(path: string): Uint8Array {
    return readFileSync(this.place(path));
  }

  head(path: string, length: number): Uint8Array {
    const fd = openSync(this.place(path), "r");
    try {
      const buffer = new Uint8Array(length);
      return buffer.subarray(0, readSync(fd, buffer));
    } finally {
      closeSync(fd);
    }
  }

  names(path: string): string[] {
    return readdirSync(this.place(path));
  }

  link(path: string): string {
    return readlinkSync(this.place(path));
  }

  exists(path: string): boolean {
    return existsSync(this.place(path));
  }

  status(path: string): FileStatus {
    const at = this.place(path);
    const found = lstatSync(at).isSymbolicLink() ? statSync(at) : lstatSync(at);
    const kind = found.isDirectory() ? "folder" : found.isFile() ? "file" : "device";
    return { mode: found.mode & 0o7777, uid: found.uid, gid: found.gid, kind };
  }
}

/** Where the kernel's file systems are; a software host has its own. */
export interface HostRoots {
  readonly sysfs: string;
  readonly proc: string;
}

/** The running host, but for what the kernel says in its file systems. */
export class MountedSource extends DiskSource {
  private readonly roots: HostRoots;

  constructor(roots: HostRoots) {
    super("");
    this.roots = roots;
  }

  protected override place(path: string): string {
    if (path.startsWith("/sys/")) return this.roots.sysfs + path.slice(4);
    if (path === "/proc" || path.startsWith("/proc/")) return this.roots.proc + path.slice(5);
    return path;
  }
}

export type MemoryEntry =
  | { readonly kind: "file"; readonly bytes: Uint8Array; readonly mode?: number }
  | { readonly kind: "device"; readonly mode: number; readonly uid?: number; readonly gid?: number }
  | { readonly kind: "link"; readonly target: string }
  | { readonly kind: "folder" }
  | { readonly kind: "denied" };

/** Links followed before a path counts as a loop, as Linux has it. */
const LINKS_MAX = 40;

/** A tree in memory: absolute path -> entry. Folders above an entry exist by themselves. */
export class MemorySource implements TreeSource {
  private readonly entries: ReadonlyMap<string, MemoryEntry>;
  private readonly folders = new Map<string, Set<string>>();

  constructor(entries: ReadonlyMap<string, MemoryEntry>) {
    this.entries = entries;
    for (const [path, entry] of entries) {
      if (entry.kind === "folder") this.folder(path);
      let child = path;
      while (child !== "/" && child !== ".") {
        const parent = dirname(child);
        const names = this.folder(parent);
        const name = child.slice(parent === "/" ? 1 : parent.length + 1);
        if (names.has(name)) break;
        names.add(name);
        child = parent;
      }
    }
  }

  text(path: string): string {
    return new TextDecoder().decode(this.bytes(path));
  }

  bytes(path: string): Uint8Array {
    const entry = this.entry(this.resolve(path));
    if (entry?.kind === "file") return entry.bytes;
    throw failure(entry?.kind === "denied" ? "EACCES" : "ENOENT", path);
  }

  head(path: string, length: number): Uint8Array {
    return this.bytes(path).subarray(0, length);
  }

  names(path: string): string[] {
    const at = this.resolve(path);
    const names = this.folders.get(at);
    if (names !== undefined) return [...names];
    throw failure(this.entry(at)?.kind === "denied" ? "EACCES" : "ENOENT", path);
  }

  link(path: string): string {
    const entry = this.entry(this.resolve(dirname(path)) + path.slice(dirname(path).length));
    if (entry?.kind === "link") return entry.target;
    if (entry === undefined) throw failure("ENOENT", path);
    throw failure("EINVAL", path);
  }

  exists(path: string): boolean {
    try {
      const at = this.resolve(path);
      return this.folders.has(at) || this.entries.has(at);
    } catch {
      // A loop of links leads nowhere.
      return false;
    }
  }

  status(path: string): FileStatus {
    const at = this.resolve(path);
    if (this.folders.has(at)) return { mode: 0o755, uid: 0, gid: 0, kind: "folder" };
    const entry = this.entry(at);
    if (entry === undefined) throw failure("ENOENT", path);
    if (entry.kind === "device") {
      return { mode: entry.mode, uid: entry.uid ?? 0, gid: entry.gid ?? 0, kind: "device" };
    }
    const mode = entry.kind === "file" ? (entry.mode ?? 0o644) : 0;
    return { mode, uid: 0, gid: 0, kind: "file" };
  }

  private entry(path: string): MemoryEntry | undefined {
    return this.entries.get(path);
  }

  private folder(path: string): Set<string> {
    let names = this.folders.get(path);
    if (names === undefined) {
      names = new Set();
      this.folders.set(path, names);
    }
    return names;
  }

  /** The path with every link followed. */
  private resolve(path: string, links = 0): string {
    if (links > LINKS_MAX) throw failure("ELOOP", path);
    let at = "";
    const parts = normalize(path)
      .split("/")
      .filter((part) => part !== "");
    for (let i = 0; i < parts.length; i++) {
      const next = `${at}/${parts[i]}`;
      const entry = this.entries.get(next);
      if (entry?.kind !== "link") {
        at = next;
        continue;
      }
      const base = entry.target.startsWith("/") ? "" : at;
      const rest = parts.slice(i + 1).join("/");
      return this.resolve(`${base}/${entry.target}/${rest}`, links + 1);
    }
    return at === "" ? "/" : at;
  }
}

function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}
