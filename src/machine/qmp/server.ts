/**
 * QmpServer: the control socket of a machine, a Unix socket that speaks the QEMU Machine Protocol.
 * Begin reading at session.ts, then commands.ts.
 *
 * Several clients may be connected; the commands of all are done one at a time, in the order in
 * which they came, and events go to all. A client is bounded in what it can make us hold: its
 * command, its unread replies, and how many clients there are.
 */

import { lstatSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { ViaductError } from "../../sys/sys-error.ts";
import type { MachineEvent } from "../machine-events.ts";
import type { JsonObject } from "./arguments.ts";
import type { ControlledMachine } from "./control.ts";
import { qmpEventOf, stamped } from "./events.ts";
import type { JsonItem } from "./json-stream.ts";
import { QmpSession } from "./session.ts";

const CLIENTS_MAX = 16;
/** Bytes of replies and events that a client has not read; one that reads nothing is let go. */
const UNREAD_MAX = 1024 * 1024;
/** Characters of a socket's path, `sun_path` less its terminating zero. */
const PATH_MAX = 107;
/** How long the last events may take to reach clients when the machine has ended. */
const GOODBYE_MS = 500;

export class QmpServer implements AsyncDisposable {
  readonly #machine: ControlledMachine;
  readonly #path: string;
  readonly #server: Server;
  readonly #clients = new Map<Socket, QmpSession>();
  readonly #removeSocket: () => void;
  /** Settles when the commands so far are done. */
  #done: Promise<void> = Promise.resolve();
  #closing = false;
  #met: () => void = () => {};
  /** Settles when the first client has connected. */
  readonly firstClient = new Promise<void>((resolve) => {
    this.#met = resolve;
  });

  private constructor(machine: ControlledMachine, path: string) {
    this.#machine = machine;
    this.#path = path;
    this.#server = createServer((socket) => this.#welcome(socket));
    this.#removeSocket = () => rmSync(path, { force: true });
  }

  /**
   * Listens at `path`. What a process that was killed left there is replaced.
   * @throws {ViaductError} USAGE: nothing can listen there, or somebody does
   */
  static async open(machine: ControlledMachine, path: string): Promise<QmpServer> {
    if (Buffer.byteLength(path) > PATH_MAX) {
      throw cannotListen(path, `the path is longer than ${PATH_MAX} bytes`);
    }
    await refuseInUse(path);
    const server = new QmpServer(machine, path);
    await server.#listen();
    return server;
  }

  /** Tells every client that has negotiated. */
  tell(event: MachineEvent): void {
    const message = qmpEventOf(event);
    if (message === undefined) return;
    const stamp = stamped(message);
    for (const [socket, session] of this.#clients) if (session.negotiated) send(socket, stamp);
  }

  /** Lets every client go, after what was sent to it, and removes the socket. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    process.off("exit", this.#removeSocket);
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const sockets = [...this.#clients.keys()];
    for (const socket of sockets) socket.end().resume();
    const limit = setTimeout(() => {
      for (const socket of sockets) socket.destroy();
    }, GOODBYE_MS);
    await closed;
    clearTimeout(limit);
  }

  async #listen(): Promise<void> {
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.once("error", reject);
        this.#server.listen(this.#path, resolve);
      });
    } catch (error) {
      throw cannotListen(this.#path, (error as Error).message, error);
    }
    process.on("exit", this.#removeSocket);
  }

  #welcome(socket: Socket): void {
    if (this.#closing || this.#clients.size >= CLIENTS_MAX) {
      socket.destroy();
      return;
    }
    const session = new QmpSession(this.#machine, (message) => send(socket, message));
    this.#clients.set(socket, session);
    socket.on("data", (bytes) => this.#receive(socket, session, bytes));
    // A client that breaks off has nothing more to say, and is not told so.
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#clients.delete(socket));
    this.#met();
  }

  /** Takes no more from this client until it has its replies. */
  #receive(socket: Socket, session: QmpSession, bytes: Uint8Array): void {
    const items = session.receive(bytes);
    if (items.length === 0) return;
    socket.pause();
    this.#done = this.#done.then(() => this.#answer(socket, session, items));
  }

  async #answer(socket: Socket, session: QmpSession, items: readonly JsonItem[]): Promise<void> {
    for (const item of items) {
      // A machine that is being taken apart does nothing more.
      if (!this.#closing) await session.answer(item);
    }
    if (socket.writableNeedDrain) socket.once("drain", () => socket.resume());
    else socket.resume();
  }
}

function send(socket: Socket, message: JsonObject): void {
  if (!socket.writable) return;
  socket.write(`${JSON.stringify(message)}\r\n`);
  if (socket.writableLength > UNREAD_MAX) socket.destroy();
}

function cannotListen(path: string, why: string, cause?: unknown): ViaductError {
  return new ViaductError("USAGE", `--qmp unix:${path}: Cannot listen there: ${why}`, {
    cause,
    nextStep: "Name a path in a folder that can be written, which nothing else uses.",
  });
}

/** A socket nobody listens at is in nobody's use: it is removed. @throws {ViaductError} USAGE */
async function refuseInUse(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw cannotListen(path, "there is a file of that name");
  const probe = connect(path);
  const alive = await new Promise<boolean>((resolve) => {
    probe.once("connect", () => resolve(true));
    probe.once("error", () => resolve(false));
  });
  probe.destroy();
  if (alive) throw cannotListen(path, "another process listens there");
  rmSync(path, { force: true });
}
