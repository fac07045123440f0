/**
 * Prints trace events: text to stderr or a file, NDJSON to another (docs/tracing.md). The modules
 * that declare trace points are imported here, so that all of them can be listed and chosen before
 * anything uses them.
 */

import "../vfio/pci/quirks/trace.ts";
import "../vfio/pci/trace.ts";
import "../vfio/trace.ts";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import {
  channelOf,
  type TraceKind,
  type TraceMessage,
  type TracePoint,
  tracePoints,
} from "../sys/trace.ts";
import { LineQueue, type LineQueueOptions } from "./line-queue.ts";
import { closest } from "./options.ts";
import { openForWriting } from "./run-events.ts";
import type { TraceOptions } from "./trace-options.ts";

type Note = (text: string) => void;
type Format = (point: TracePoint, message: TraceMessage) => string;

interface Place {
  readonly queue: LineQueue;
  readonly format: Format;
}

/** An event a line, with the names of its arguments: what `--trace help` prints. */
export function traceHelp(): string {
  const lines = tracePoints().map(({ event, shape }) => [event, ...Object.keys(shape)].join(" "));
  return `${lines.join("\n")}\n`;
}

/**
 * Listens to the chosen events until disposed, which writes what is left.
 * @param note told of names that no event has, and of a place that fails while the guest runs
 * @throws {ViaductError} USAGE: a file cannot be written
 */
export function openRunTrace(options: TraceOptions, note: Note): AsyncDisposable {
  const places = openPlaces(options, note);
  const releases = chosenPoints(options.patterns, note).map((point) => {
    const listener = (message: unknown) => {
      for (const { queue, format } of places) queue.write(format(point, message as TraceMessage));
    };
    subscribe(channelOf(point.event), listener);
    return () => unsubscribe(channelOf(point.event), listener);
  });
  return {
    async [Symbol.asyncDispose]() {
      for (const release of releases) release();
      for (const { queue } of places) await queue[Symbol.asyncDispose]();
    },
  };
}

function openPlaces({ text, json }: TraceOptions, note: Note): Place[] {
  // Both are opened before anything is written.
  const textFd = text ? openForWriting("--trace file", text) : 2;
  const jsonFd = json === undefined ? undefined : openForWriting("--trace-json", json);
  const places: Place[] = [];
  const queueFor = (name: string, fd: number, dropped: LineQueueOptions["dropped"]) => {
    const failed = ({ message }: Error) => note(`${name}: tracing ends: ${message}`);
    return new LineQueue(fd, { dropped, failed });
  };
  if (text !== undefined) {
    const dropped = (count: number) => `trace_dropped count=${count}`;
    places.push({ queue: queueFor(text || "stderr", textFd, dropped), format: textLine });
  }
  if (json !== undefined && jsonFd !== undefined) {
    const dropped = (count: number) => jsonText("trace_dropped", { count });
    places.push({ queue: queueFor(json, jsonFd, dropped), format: jsonLine });
  }
  return places;
}

/** The points that the patterns leave, each once. */
function chosenPoints(patterns: readonly string[], note: Note): TracePoint[] {
  const all = tracePoints();
  const chosen = new Set<TracePoint>();
  for (const given of patterns) {
    const takesAway = given.startsWith("-");
    const pattern = takesAway ? given.slice(1) : given;
    const glob = globOf(pattern);
    const found = all.filter(({ event }) => glob.test(event));
    if (found.length === 0) note(noSuchEvent(pattern, all));
    for (const point of found) takesAway ? chosen.delete(point) : chosen.add(point);
  }
  return [...chosen];
}

function noSuchEvent(pattern: string, all: readonly TracePoint[]): string {
  const near = closest(
    pattern,
    all.map(({ event }) => event),
  );
  const hint = near === undefined ? "see --trace help" : `did you mean ${near}?`;
  return `there is no trace event ${pattern}: ${hint}`;
}

function globOf(pattern: string): RegExp {
  const source = pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${source.replaceAll("*", ".*").replaceAll("?", ".")}$`);
}

/** `vfio_region_read name=0000:01:00.0 index=1 addr=0x10 size=4 data=0xff` */
function textLine({ event, shape }: TracePoint, { args }: TraceMessage): string {
  const words = Object.entries(shape).map(([name, kind]) => {
    const value = plain(kind, args[name]!);
    const quoted = typeof value === "string" && !/^[^\s"=]+$/.test(value);
    return ` ${name}=${quoted ? JSON.stringify(value) : value}`;
  });
  return event + words.join("");
}

function jsonLine({ event, shape }: TracePoint, { args }: TraceMessage): string {
  const named = Object.entries(shape).map(([name, kind]) => [name, plain(kind, args[name]!)]);
  return jsonText(event, Object.fromEntries(named));
}

/** `ms` counts from the start of the process, as in the events of --json. */
function jsonText(event: string, args: Readonly<Record<string, unknown>>): string {
  return JSON.stringify({ ms: Math.round(performance.now() * 1000) / 1000, event, args });
}

function plain(kind: TraceKind, value: string | number | bigint | boolean) {
  if (kind !== "hex" || typeof value === "string" || typeof value === "boolean") {
    return typeof value === "bigint" ? Number(value) : value;
  }
  // A negative number is an errno in 32 bits.
  const positive = typeof value === "number" && value < 0 ? value >>> 0 : value;
  return `0x${positive.toString(16)}`;
}
