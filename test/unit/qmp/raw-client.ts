/** A client that sends bytes as they are, and reads what comes, line by line. */

import { connect, type Socket } from "node:net";
import { createInterface, type Interface } from "node:readline";

export type Message = Readonly<Record<string, unknown>>;

export class RawClient implements Disposable {
  readonly socket: Socket;
  readonly #lines: AsyncIterator<string>;

  private constructor(socket: Socket, reader: Interface) {
    this.socket = socket;
    this.#lines = reader[Symbol.asyncIterator]();
  }

  static async connect(path: string): Promise<RawClient> {
    const socket = connect(path);
    const client = new RawClient(socket, createInterface({ input: socket }));
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    return client;
  }

  /** Connected, greeted and negotiated. */
  static async negotiated(path: string): Promise<RawClient> {
    const client = await RawClient.connect(path);
    await client.next();
    await client.ask({ execute: "qmp_capabilities" });
    return client;
  }

  send(text: string): void {
    this.socket.write(text);
  }

  /** The next message; undefined: the connection has ended. */
  async next(): Promise<Message | undefined> {
    const { done, value } = await this.#lines.next();
    return done ? undefined : (JSON.parse(value) as Message);
  }

  /** Sends a message; the next one that is no event is the answer. */
  async ask(message: unknown): Promise<Message> {
    this.send(`${JSON.stringify(message)}\n`);
    for (;;) {
      const answer = await this.next();
      if (answer === undefined) throw new Error("the connection has ended");
      if (answer["event"] === undefined) return answer;
    }
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}
