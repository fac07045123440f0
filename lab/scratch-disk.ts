/** A disk image with random content for a test, and its SHA-256; the file goes with its owner. */

import { createHash, randomFillSync } from "node:crypto";
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const CHUNK = 2 ** 20;

export class ScratchDisk implements Disposable {
  readonly path: string;
  readonly sha256: string;
  readonly #folder: string;

  /** @param sizeMib of the image, in MiB */
  constructor(sizeMib: number) {
    this.#folder = mkdtempSync(join(tmpdir(), "viaduct-disk-"));
    this.path = join(this.#folder, "disk.img");
    const hash = createHash("sha256");
    const fd = openSync(this.path, "wx", 0o600);
    const chunk = Buffer.alloc(CHUNK);
    for (let written = 0; written < sizeMib; written++) {
      randomFillSync(chunk);
      hash.update(chunk);
      writeSync(fd, chunk);
    }
    closeSync(fd);
    this.sha256 = hash.digest("hex");
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
