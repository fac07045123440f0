/**
 * Lets a program inside L1 ask for what only the outside can do: plug and unplug devices, inject
 * errors. A port of L1 carries one JSON request a line and one answer a line; `inside.ts` is the
 * other end.
 */

import { connectWhenThere, readLines } from "./qmp.ts";

/** What the outside does on request. */
export interface MonitorActions {
  plug(device: string, properties?: Record<string, unknown>): Promise<string>;
  unplug(device: string): Promise<void>;
  qmp(command: string, args?: Record<string, unknown>): Promise<unknown>;
  hmp(line: string): Promise<string>;
}

export interface MonitorRequest {
  readonly action: keyof MonitorActions;
  readonly text: string;
  readonly args?: Record<string, unknown>;
}

export type MonitorAnswer = { readonly value: unknown } | { readonly error: string };

/** The port's device node inside L1. */
export const MONITOR_NODE = "/dev/vport0p13";

/** Answers requests that come through the socket at `path` until disposed. */
export async function serveMonitor(
  path: string,
  actions: MonitorActions,
  timeoutMs: number,
): Promise<Disposable> {
  const socket = await connectWhenThere(path, timeoutMs);
  readLines(socket).on("line", (line) => {
    void answer(actions, line).then((message) => {
      if (!socket.destroyed) socket.write(`${JSON.stringify(message)}\n`);
    });
  });
  return { [Symbol.dispose]: () => void socket.destroy() };
}

async function answer(actions: MonitorActions, line: string): Promise<MonitorAnswer> {
  try {
    const { action, text, args } = JSON.parse(line) as MonitorRequest;
    if (action === "plug" || action === "qmp") return { value: await actions[action](text, args) };
    if (action === "unplug" || action === "hmp") return { value: await actions[action](text) };
    return { error: `no such action: ${String(action)}` };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}
