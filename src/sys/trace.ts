/**
 * Trace points: named events, the names and arguments of QEMU's trace-events files, published
 * through `node:diagnostics_channel`. An event nobody listens to costs one branch, provided that
 * the arguments of a hot one are made behind `enabled`.
 */

import { type Channel, channel } from "node:diagnostics_channel";

/** How an argument is printed: a word, a truth, a count, or an address, size or register. */
export type TraceKind = "str" | "bool" | "int" | "hex";

interface ValueOfKind {
  readonly str: string;
  readonly bool: boolean;
  readonly int: number;
  readonly hex: number | bigint;
}

/** Argument names in their order, and their kinds. */
export type TraceShape = Readonly<Record<string, TraceKind>>;

export type TraceArguments<S extends TraceShape = TraceShape> = {
  readonly [Name in keyof S]: ValueOfKind[S[Name]];
};

/** What a subscriber of the channel `viaduct:<event>` receives. */
export interface TraceMessage {
  readonly event: string;
  readonly args: TraceArguments;
}

export class TracePoint<const S extends TraceShape = TraceShape> {
  readonly event: string;
  readonly shape: S;
  readonly #channel: Channel;

  constructor(event: string, shape: S) {
    this.event = event;
    this.shape = shape;
    this.#channel = channel(channelOf(event));
    points.set(event, this as unknown as TracePoint);
  }

  /** True when somebody listens: ask before building arguments on a hot path. */
  get enabled(): boolean {
    return this.#channel.hasSubscribers;
  }

  emit(args: TraceArguments<S>): void {
    if (!this.#channel.hasSubscribers) return;
    this.#channel.publish({ event: this.event, args } satisfies TraceMessage);
  }
}

const points = new Map<string, TracePoint>();

/** The `node:diagnostics_channel` channel of an event. */
export function channelOf(event: string): string {
  return `viaduct:${event}`;
}

/** All trace points of the modules loaded so far, sorted by name. */
export function tracePoints(): TracePoint[] {
  return [...points.values()].sort((a, b) => (a.event < b.event ? -1 : 1));
}
