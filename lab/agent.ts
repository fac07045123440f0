/**
 * The host's end of L1's agent (`init.sh`): runs shell scripts inside, streams what they print, and
 * answers their status. Each channel of the agent runs one script at a time.
 */

import type { Socket } from "node:net";
import type { Interface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { ViaductError } from "../src/sys/sys-error.ts";
import { CHANNELS } from "./l1-command.ts";
import { connectWhenThere, readLines } from "./qmp.ts";

export interface RunResult {
  /** The exit status; 137 when it was killed at its time limit. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;
}

export type OnOutput = (stream: "stdout" | "stderr", text: string) => void;

/** How long after its own limit a script may take to answer, before L1 counts as hung. */
const GRACE_MS = 15_000;

/** Collects a port's text up to the line that ends a command. */
class Port {
  #text = "";
  #ended: (() => void) | undefined;
  #end = "";
  onText: ((text: string) => void) | undefined;

  constructor(socket: Socket) {
    socket.setEncoding("utf8").on("data", (text: string) => {
      const before = this.#text.length;
      this.#text += text;
      const end = this.#text.indexOf(this.#end, Math.max(0, before - this.#end.length));
      // The mark itself is not shown; a part of it at a chunk's end may be.
      if (end < 0) this.onText?.(text);
      else if (this.#end !== "") this.onText?.(text.slice(0, Math.max(0, end - before)));
      if (end >= 0) this.#ended?.();
    });
  }

  /** What arrives until the end mark of command `id`. */
  until(id: number): { text: Promise<string>; soFar: () => string } {
    this.#end = `\nEND ${id}\n`;
    const text = new Promise<void>((ended) => {
      this.#ended = ended;
    }).then(() => {
      const at = this.#text.indexOf(this.#end);
      const before = this.#text.slice(0, at);
      this.#text = this.#text.slice(at + this.#end.length);
      return before;
    });
    return { text, soFar: () => this.#text };
  }
}

class Channel implements Disposable {
  readonly #sockets: readonly Socket[];
  readonly #control: Socket;
  readonly #replies: Interface;
  readonly #stdout: Port;
  readonly #stderr: Port;
  #lastId = 0;

  private constructor(sockets: readonly [Socket, Socket, Socket]) {
    this.#sockets = sockets;
    this.#control = sockets[0];
    this.#replies = readLines(sockets[0]);
    this.#stdout = new Port(sockets[1]);
    this.#stderr = new Port(sockets[2]);
  }

  /** @param folder holds the sockets `control0`, `stdout0`, `stderr0`, and so on */
  static async connect(folder: string, index: number, timeoutMs: number): Promise<Channel> {
    const open = (name: string) => connectWhenThere(`${folder}/${name}${index}`, timeoutMs);
    return new Channel([await open("control"), await open("stdout"), await open("stderr")]);
  }

  /** Waits for L1's first word after a boot. */
  async ready(timeoutMs: number): Promise<void> {
    await this.#line("READY", timeoutMs, "L1 to boot");
  }

  /**
   * Runs `script` with L1's busybox shell.
   * @throws {ViaductError} LAB_FAILED when L1 itself no longer answers
   */
  async run(script: string, timeoutMs: number, onOutput?: OnOutput): Promise<RunResult> {
    this.#lastId += 1;
    const id = this.#lastId;
    const started = Date.now();
    this.#stdout.onText = onOutput && ((text) => onOutput("stdout", text));
    this.#stderr.onText = onOutput && ((text) => onOutput("stderr", text));
    const stdout = this.#stdout.until(id);
    const stderr = this.#stderr.until(id);
    const seconds = Math.max(1, Math.ceil(timeoutMs / 1000));
    const encoded = Buffer.from(script).toString("base64");
    const ended = this.#line(`END ${id} `, timeoutMs + GRACE_MS, `a command: ${script}`);
    this.#control.write(`${id} ${seconds} ${encoded}\n`);
    const status = Number((await ended).split(" ")[2]);
    const timedOut = status === 137 && Date.now() - started >= seconds * 1000;
    return { status, stdout: await stdout.text, stderr: await stderr.text, timedOut };
  }

  [Symbol.dispose](): void {
    this.#replies.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  async #line(start: string, timeoutMs: number, what: string): Promise<string> {
    const waiting = new AbortController();
    const line = new Promise<string>((done) => {
      const listen = (text: string): void => {
        if (!text.startsWith(start)) return;
        this.#replies.off("line", listen);
        done(text);
      };
      this.#replies.on("line", listen);
      waiting.signal.addEventListener("abort", () => this.#replies.off("line", listen));
    });
    const limit = delay(timeoutMs, undefined, { signal: waiting.signal }).catch(() => undefined);
    const answer = await Promise.race([line, limit]);
    waiting.abort();
    if (answer !== undefined) return answer;
    throw new ViaductError(
      "LAB_FAILED",
      `L1 did not answer in ${timeoutMs} ms, waiting for ${what}`,
      {
        nextStep: "see its console, console.log in the lab's run folder",
      },
    );
  }
}

/** All channels: a script takes a free one, and waits for one when all are busy. */
export class Agent implements Disposable {
  readonly #channels: readonly Channel[];
  readonly #free: Channel[];
  readonly #waiting: Array<(channel: Channel) => void> = [];

  private constructor(channels: readonly Channel[]) {
    this.#channels = channels;
    this.#free = [...channels];
  }

  static async connect(folder: string, timeoutMs: number): Promise<Agent> {
    const indexes = Array.from({ length: CHANNELS }, (_, index) => index);
    const open = (index: number) => Channel.connect(folder, index, timeoutMs);
    return new Agent(await Promise.all(indexes.map(open)));
  }

  /** Waits for L1's first word after a boot. */
  async ready(timeoutMs: number): Promise<void> {
    await Promise.all(this.#channels.map((channel) => channel.ready(timeoutMs)));
  }

  /**
   * Runs `script` with L1's busybox shell.
   * @throws {ViaductError} LAB_FAILED when L1 itself no longer answers
   */
  async run(script: string, timeoutMs: number, onOutput?: OnOutput): Promise<RunResult> {
    const channel =
      this.#free.pop() ??
      (await new Promise<Channel>((take) => {
        this.#waiting.push(take);
      }));
    // A channel whose script never ended is not given back.
    const result = await channel.run(script, timeoutMs, onOutput);
    const next = this.#waiting.shift();
    if (next) next(channel);
    else this.#free.push(channel);
    return result;
  }

  [Symbol.dispose](): void {
    for (const channel of this.#channels) channel[Symbol.dispose]();
  }
}
