/** Where the time of a boot goes, from Viaduct's events and the guest's own clock. */

import { median } from "./median.ts";
import type { MonitorEvent, WatchedGuest } from "./passthrough-guest.ts";

export interface Phase {
  readonly name: string;
  /** A median of the rounds. */
  readonly ms: number;
}

/** Ends of the phases after exec, in milliseconds. */
function ends({ figures, events }: WatchedGuest): [string, number][] {
  const event = (name: string, also = (_: MonitorEvent) => true) =>
    events.find((each) => each.event === name && also(each));
  const start = (event("process")?.["startMs"] as number) - figures.execMs;
  const at = (found: MonitorEvent | undefined) => start + (found?.ms ?? Number.NaN);
  const node = start + (event("process")?.["nodeMs"] as number);
  return [
    ["node starts", node],
    ["options are read, its first module runs", at(event("process"))],
    ["modules of the machine loaded", at(event("loaded"))],
    ["machine and device put together", at(event("created"))],
    ["kernel in RAM, vCPUs' Workers ready", at(event("started"))],
    ["the guest boots", figures.upMs],
  ];
}

export function bootPhases(guests: readonly WatchedGuest[]): Phase[] {
  const all = guests.map(ends);
  return all[0]!.map(([name], at) => ({
    name,
    ms: median(all.map((phases) => phases[at]![1] - (phases[at - 1]?.[1] ?? 0))),
  }));
}
