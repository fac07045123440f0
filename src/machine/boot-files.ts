/**
 * The files a guest boots from, held open while it lives, because a reset reads them again and must
 * find the same kernel.
 */

import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { Owner } from "../sys/owner.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { HEADER_BYTES, parseBzImage } from "./bzimage.ts";
import type { BootImage, FileSource } from "./linux-boot.ts";

export interface BootOptions {
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly commandLine: string;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  EACCES: "permission denied",
  EISDIR: "it is a directory",
};

function refused(what: string, path: string, error: unknown): ViaductError {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const why = REASONS[code] ?? (error as Error).message;
  const errorCode = code === "EACCES" ? "NO_PERMISSION" : "KERNEL_IMAGE";
  return new ViaductError(errorCode, `${path}: Cannot read the ${what}: ${why}`, {
    cause: error,
    nextStep: `Check --${what}.`,
  });
}

class OpenFile implements FileSource, Disposable {
  readonly name: string;
  readonly size: number;
  readonly #what: string;
  #fd: number;

  constructor(what: string, path: string) {
    this.name = path;
    this.#what = what;
    try {
      this.#fd = openSync(path, "r");
    } catch (error) {
      throw refused(what, path, error);
    }
    const stat = fstatSync(this.#fd);
    this.size = stat.size;
    if (!stat.isFile()) {
      this[Symbol.dispose]();
      throw refused(what, path, { code: stat.isDirectory() ? "EISDIR" : "", message: "no file" });
    }
  }

  read(offset: number, into: Uint8Array): void {
    try {
      for (let done = 0; done < into.length; ) {
        const count = readSync(this.#fd, into, done, into.length - done, offset + done);
        if (count === 0) throw new Error(`it ends at byte ${offset + done}`);
        done += count;
      }
    } catch (error) {
      throw refused(this.#what, this.name, error);
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    closeSync(this.#fd);
    this.#fd = -1;
  }
}

export class BootFiles implements Disposable {
  readonly image: BootImage;
  readonly #owner: Owner;

  private constructor(image: BootImage, owner: Owner) {
    this.image = image;
    this.#owner = owner;
  }

  /** @throws {ViaductError} KERNEL_IMAGE, NO_PERMISSION */
  static open(options: BootOptions): BootFiles {
    using owner = new Owner();
    const kernel = owner.own(new OpenFile("kernel", options.kernel));
    const head = new Uint8Array(Math.min(HEADER_BYTES, kernel.size));
    kernel.read(0, head);
    const image = parseBzImage(options.kernel, head, kernel.size);
    const { initrd: path, commandLine } = options;
    const initrd = path === undefined ? undefined : owner.own(new OpenFile("initrd", path));
    return new BootFiles({ kernel, image, initrd, commandLine }, owner.move());
  }

  [Symbol.dispose](): void {
    this.#owner[Symbol.dispose]();
  }
}
