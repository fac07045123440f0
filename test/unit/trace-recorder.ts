/** Collects trace events while a test runs, in order. */

import { subscribe, unsubscribe } from "node:diagnostics_channel";
import "../../src/cli/run-trace.ts";
import { channelOf, type TraceMessage, type TracePoint, tracePoints } from "../../src/sys/trace.ts";

export class TraceRecorder implements Disposable {
  readonly messages: TraceMessage[] = [];
  readonly #points: readonly TracePoint[];
  readonly #listener = (message: unknown) => void this.messages.push(message as TraceMessage);

  /** @param names the events that match; all when absent */
  constructor(names = /./) {
    this.#points = tracePoints().filter(({ event }) => names.test(event));
    for (const { event } of this.#points) subscribe(channelOf(event), this.#listener);
  }

  /** `vfio_region_exit 0000:01:00.0 0`: values in the order of declaration, hexadecimal with 0x. */
  get lines(): string[] {
    return this.messages.map(({ event, args }) => {
      const { shape } = this.#points.find((point) => point.event === event)!;
      const values = Object.entries(shape).map(([name, kind]) =>
        kind === "hex" ? `0x${BigInt(args[name]!).toString(16)}` : String(args[name]),
      );
      return [event, ...values].join(" ");
    });
  }

  /** Lines since the last call. */
  take(): string[] {
    const { lines } = this;
    this.messages.length = 0;
    return lines;
  }

  [Symbol.dispose](): void {
    for (const { event } of this.#points) unsubscribe(channelOf(event), this.#listener);
  }
}
