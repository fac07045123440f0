/** The QMP client from npm with promises in the place of callbacks, and the events it saw. */

import { setTimeout as delay } from "node:timers/promises";
import QMP from "qemu-qmp";

export class NpmClient implements Disposable {
  readonly #qmp: QMP;
  readonly seen: string[] = [];

  private constructor(qmp: QMP) {
    this.#qmp = qmp;
  }

  /** Connects and negotiates. @param events those to note, by name in lower case */
  static connect(path: string, events: readonly string[] = []): Promise<NpmClient> {
    const client = new NpmClient(new QMP());
    for (const event of events) client.#qmp.on(event, () => void client.seen.push(event));
    return new Promise((resolve, reject) => {
      client.#qmp.connect(path, (error) => (error ? reject(error) : resolve(client)));
    });
  }

  get version(): QMP["version"] {
    return this.#qmp.version;
  }

  execute<T = unknown>(command: string, args: Record<string, unknown> = {}): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#qmp.execute(command, args, (error, value) => {
        if (error) reject(error);
        else resolve(value as T);
      });
    });
  }

  /** Resolves when the event has come `count` times in all. */
  async event(name: string, count = 1, limitMs = 90_000): Promise<void> {
    const deadline = Date.now() + limitMs;
    const times = () => this.seen.filter((each) => each === name).length;
    while (times() < count) {
      if (Date.now() > deadline) throw new Error(`${name} came ${times()} times, not ${count}`);
      await delay(10);
    }
  }

  /** Resolves when the server has ended the connection. */
  closed(): Promise<void> {
    return new Promise((resolve) => this.#qmp.once("close", () => resolve()));
  }

  [Symbol.dispose](): void {
    this.#qmp.end();
  }
}
