/**
 * HostTree: the one reader of a host's sysfs, procfs, devices and logs. The same functions serve
 * the running host, a captured tree (`--root DIR`) and a bundle, and nothing read here throws: a
 * file that is not there, may not be read, or vanished between two reads is an answer.
 */

import type { FileStatus, HostRoots, TreeSource } from "./tree-source.ts";
import { DiskSource, MountedSource } from "./tree-source.ts";

/** Why a value could not be had: `absent` is a fact about the host, the others are not. */
export type Missing = "absent" | "denied" | "unreadable";

export type Reading<T> =
  | { readonly value: T; readonly missing?: undefined; readonly errno?: undefined }
  | {
      readonly value?: undefined;
      readonly missing: Missing;
      readonly path: string;
      /** `ENOENT`. */
      readonly errno: string;
    };

const NONE: readonly string[] = [];

/** Errno names that mean: there is no such thing. */
const ABSENT = new Set(["ENOENT", "ENOTDIR", "ENODEV", "ENXIO"]);
const DENIED = new Set(["EACCES", "EPERM"]);

export class HostTree {
  /** The running host, which alone can be written to and asked for its own limits. */
  readonly isLive: boolean;
  /** How messages name it. */
  readonly name: string;
  private readonly source: TreeSource;
  /** What could not be read, in order, while somebody listens. */
  private readonly misses: string[] = [];
  private listeners = 0;

  constructor(source: TreeSource, options: { isLive?: boolean; name?: string } = {}) {
    this.source = source;
    this.isLive = options.isLive ?? false;
    this.name = options.name ?? "the captured tree";
  }

  static live(): HostTree {
    return new HostTree(new DiskSource(""), { isLive: true, name: "this host" });
  }

  /** The running host with its kernel's file systems elsewhere: a software host's. */
  static mounted(roots: HostRoots): HostTree {
    return new HostTree(new MountedSource(roots), { isLive: true, name: "this host" });
  }

  static folder(root: string): HostTree {
    return new HostTree(new DiskSource(root), { name: root });
  }

  /** A text file without its last line end. */
  read(path: string): Reading<string> {
    return this.attempt(path, () => this.source.text(path).trimEnd());
  }

  text(path: string): string | undefined {
    return this.read(path).value;
  }

  bytes(path: string): Reading<Uint8Array> {
    return this.attempt(path, () => this.source.bytes(path));
  }

  /** The first `length` bytes of a file, or as many as it has. */
  head(path: string, length: number): Reading<Uint8Array> {
    return this.attempt(path, () => this.source.head(path, length));
  }

  /** The names in a folder, in code point order; numbers are the caller's to sort. */
  list(path: string): Reading<string[]> {
    return this.attempt(path, () => this.source.names(path).sort());
  }

  names(path: string): readonly string[] {
    return this.list(path).value ?? [];
  }

  /** Where a symbolic link points, as written. */
  link(path: string): Reading<string> {
    return this.attempt(path, () => this.source.link(path));
  }

  /** The last component of a link: sysfs names drivers, groups and buses so. */
  linkName(path: string): string | undefined {
    const target = this.link(path).value;
    return target?.slice(target.lastIndexOf("/") + 1);
  }

  status(path: string): Reading<FileStatus> {
    return this.attempt(path, () => this.source.status(path));
  }

  /** For what most hosts lack: an absent file costs no exception here. */
  exists(path: string): boolean {
    return this.source.exists(path);
  }

  has(path: string): boolean {
    return this.status(path).value !== undefined;
  }

  /**
   * Runs `read`, and says which paths are there but could not be read: what was concluded without
   * them is not known. Nested calls each hear of theirs.
   */
  noticingMisses<T>(read: () => T): { readonly value: T; readonly missed: readonly string[] } {
    const start = this.misses.length;
    this.listeners++;
    try {
      const value = read();
      return { value, missed: this.misses.length === start ? NONE : this.misses.slice(start) };
    } finally {
      this.listeners--;
      if (this.listeners === 0) this.misses.length = 0;
    }
  }

  /** Runs `read`, whose misses are its own affair. */
  apart<T>(read: () => T): T {
    const start = this.misses.length;
    try {
      return read();
    } finally {
      this.misses.length = start;
    }
  }

  /** A value that was kept came from a reading that missed these. */
  noteMisses(paths: readonly string[]): void {
    if (this.listeners > 0) this.misses.push(...paths);
  }

  private attempt<T>(path: string, get: () => T): Reading<T> {
    // Most optional files are absent, and half of such an error's cost is its stack.
    const frames = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    try {
      return { value: get() };
    } catch (error) {
      const errno = (error as NodeJS.ErrnoException).code ?? "EIO";
      const missing = ABSENT.has(errno) ? "absent" : DENIED.has(errno) ? "denied" : "unreadable";
      if (missing !== "absent") this.noteMisses([path]);
      return { missing, path, errno };
    } finally {
      Error.stackTraceLimit = frames;
    }
  }
}
