/**
 * Trace points: named events, the names and arguments of QEMU's trace-events files, published
 * through `node:diagnostics_channel`. An event nobody listens to costs one branch.
 */

import { type Channel, channel } from "node:diagnostics_channel";

export type TraceArguments = Readonly<Record<string, string | number | bigint | boolean>>;

/** What a subscriber of the channel `viaduct:<event>` receives. */
export interface TraceMessage {
  readonly event: string;
  readonly args: TraceArguments;
}

export class TracePoint<A extends TraceArguments> {
  readonly event: string;
  readonly #channel: Channel;

  constructor(event: string) {
    this.event = event;
    this.#channel = channel(`viaduct:${event}`);
    points.set(event, this as TracePoint<TraceArguments>);
  }

  /** True when somebody listens: ask before building arguments on a hot path. */
  get enabled(): boolean {
    return this.#channel.hasSubscribers;
  }

  emit(args: A): void {
    if (!this.#channel.hasSubscribers) return;
    this.#channel.publish({ event: this.event, args } satisfies TraceMessage);
  }
}

const points = new Map<string, TracePoint<TraceArguments>>();

/** The names of all trace points of the modules loaded so far, sorted. */
export function tracePointNames(): string[] {
  return [...points.keys()].sort();
}
