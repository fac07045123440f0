/**
 * QEMU's monitor (QMP): one JSON object a line over a Unix socket. Commands are answered in order;
 * events come between.
 */

import { connect, type Socket } from "node:net";
import { createInterface, type Interface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { ViaductError } from "../src/sys/sys-error.ts";

export interface QmpEvent {
  readonly event: string;
  readonly data?: Record<string, unknown>;
}

interface Reply {
  readonly return?: unknown;
  readonly error?: { class: string; desc: string };
  readonly event?: string;
}

interface Waiting {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

const ANSWER_MS = 30_000;

/** Connects to a Unix socket that its server may not have made yet. */
export async function connectWhenThere(path: string, timeoutMs: number): Promise<Socket> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const socket = connect(path);
    const failure = await new Promise<Error | undefined>((done) => {
      socket.once("connect", () => done(undefined));
      socket.once("error", done);
    });
    if (failure === undefined) {
      socket.on("error", () => socket.destroy()); // the peer is gone; its exit says why
      return socket;
    }
    if (Date.now() > deadline) {
      throw new ViaductError("LAB_FAILED", `${path}: no server after ${timeoutMs} ms`, {
        cause: failure,
        nextStep: "QEMU may have refused an option: its own message is above",
      });
    }
    await delay(10);
  }
}

/** The lines that come through a socket. Its end, also a broken one, shows as `close`. */
export function readLines(socket: Socket): Interface {
  return createInterface({ input: socket }).on("error", () => socket.destroy());
}

export class Qmp implements Disposable {
  readonly #socket: Socket;
  readonly #waiting: Waiting[] = [];
  readonly #events: QmpEvent[] = [];
  #eventSeen: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    readLines(socket).on("line", (line) => this.#receive(JSON.parse(line)));
    socket.on("close", () => this.#fail("the monitor closed"));
  }

  static async connect(path: string, timeoutMs: number): Promise<Qmp> {
    const qmp = new Qmp(await connectWhenThere(path, timeoutMs));
    await qmp.execute("qmp_capabilities");
    return qmp;
  }

  /** @throws {ViaductError} LAB_FAILED with QEMU's own words, or after 30 s */
  execute(command: string, args?: Record<string, unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(this.#error(command, "no answer")), ANSWER_MS);
      const settled = (settle: () => void) => {
        clearTimeout(timer);
        settle();
      };
      this.#waiting.push({
        command,
        resolve: (value) => settled(() => resolve(value)),
        reject: (error) => settled(() => reject(error)),
      });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    });
  }

  /** Waits for an event that came after the last one taken. */
  async event(
    name: string,
    timeoutMs: number,
    matches: (data: Record<string, unknown>) => boolean = () => true,
  ): Promise<QmpEvent> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const at = this.#events.findIndex(({ event, data = {} }) => event === name && matches(data));
      if (at >= 0) return this.#events.splice(at, 1)[0]!;
      const left = deadline - Date.now();
      if (left <= 0) throw this.#error(name, `no such event in ${timeoutMs} ms`);
      const seen = new Promise<void>((resolve) => {
        this.#eventSeen = resolve;
      });
      const limit = new AbortController();
      await Promise.race([seen, delay(left, undefined, { signal: limit.signal }).catch(() => {})]);
      limit.abort();
    }
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #receive(message: Reply): void {
    if (message.event !== undefined) {
      this.#events.push(message as QmpEvent);
      this.#eventSeen?.();
      return;
    }
    if (message.return === undefined && message.error === undefined) return; // the greeting
    const waiting = this.#waiting.shift();
    if (message.error) waiting?.reject(this.#error(waiting.command, message.error.desc));
    else waiting?.resolve(message.return);
  }

  #fail(why: string): void {
    for (const { command, reject } of this.#waiting.splice(0)) reject(this.#error(command, why));
  }

  #error(what: string, why: string): ViaductError {
    return new ViaductError("LAB_FAILED", `monitor: ${what}: ${why}`);
  }
}
