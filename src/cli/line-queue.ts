/**
 * LineQueue: lines to a file, a pipe or a terminal, in their order, written by the thread pool:
 * a reader that is slow does not hold up the guest.
 */

import { closeSync, write, writeSync } from "node:fs";
import { setImmediate as nextTurn, setTimeout as wait } from "node:timers/promises";
import { promisify } from "node:util";

const writeSome = promisify(write);

/** More than this waiting, and lines are dropped and counted. */
const PENDING_MAX = 64 * 2 ** 20;
/** Until a terminal that is full is tried again. */
const RETRY_MS = 10;

export interface LineQueueOptions {
  /** Says in one line that `count` lines were dropped. */
  readonly dropped: (count: number) => string;
  /** The place cannot be written to any more; told once. */
  readonly failed: (error: Error) => void;
  readonly pendingMax?: number;
}

export class LineQueue implements AsyncDisposable {
  readonly #fd: number;
  readonly #options: LineQueueOptions;
  readonly #flushAtExit = () => this.#flush();
  #lines: string[] = [];
  #length = 0;
  #dropped = 0;
  #closed = false;
  #draining: Promise<void> | undefined;

  /** @param fd closed at the end, unless it is a standard one */
  constructor(fd: number, options: LineQueueOptions) {
    this.#fd = fd;
    this.#options = options;
    process.on("exit", this.#flushAtExit);
  }

  /** @param line without its newline */
  write(line: string): void {
    if (this.#closed) return;
    if (this.#length > (this.#options.pendingMax ?? PENDING_MAX)) {
      this.#dropped++;
      return;
    }
    if (this.#dropped > 0) this.#push(this.#options.dropped(this.#dropped));
    this.#dropped = 0;
    this.#push(line);
    this.#draining ??= this.#drain();
  }

  /** Writes what is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#draining;
    this.#flush();
    this.#close();
  }

  #push(line: string): void {
    this.#lines.push(line);
    this.#length += line.length + 1;
  }

  #take(): Buffer {
    const lines = this.#lines;
    this.#lines = [];
    this.#length = 0;
    return Buffer.from(`${lines.join("\n")}\n`);
  }

  async #drain(): Promise<void> {
    try {
      // A turn later, so that what comes together is written together.
      await nextTurn();
      while (this.#lines.length > 0) await this.#writeAll(this.#take());
    } catch (error) {
      this.#fail(error);
    }
    this.#draining = undefined;
  }

  async #writeAll(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      try {
        const { bytesWritten } = await writeSome(this.#fd, bytes, at, bytes.length - at, null);
        at += bytesWritten;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
        await wait(RETRY_MS);
      }
    }
  }

  /** At the end of the process nobody waits for the thread pool. */
  #flush(): void {
    if (this.#closed) return;
    if (this.#dropped > 0) this.#push(this.#options.dropped(this.#dropped));
    this.#dropped = 0;
    if (this.#lines.length === 0) return;
    try {
      writeSync(this.#fd, this.#take());
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#close();
    this.#options.failed(error as Error);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    process.off("exit", this.#flushAtExit);
    if (this.#fd > 2) closeSync(this.#fd);
  }
}
