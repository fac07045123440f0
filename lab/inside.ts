/** For programs that run inside L1: asks the outside to act on the machine they run in. */

import { closeSync, existsSync, openSync, readSync, writeSync } from "node:fs";
import { ViaductError } from "../src/sys/sys-error.ts";
import {
  MONITOR_NODE,
  type MonitorActions,
  type MonitorAnswer,
  type MonitorRequest,
} from "./monitor.ts";

/** Whether this program runs inside L1. */
export function isInsideL1(): boolean {
  return existsSync(MONITOR_NODE);
}

/** Sends one request and waits for its answer, which the outside limits in time. */
function ask(request: MonitorRequest): unknown {
  const fd = openSync(MONITOR_NODE, "r+");
  try {
    const bytes = Buffer.from(`${JSON.stringify(request)}\n`);
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    const chunk = Buffer.alloc(4096);
    let text = "";
    while (!text.endsWith("\n")) {
      const count = readSync(fd, chunk);
      if (count === 0) throw new ViaductError("LAB_FAILED", "nobody listens outside L1");
      text += chunk.toString("utf8", 0, count);
    }
    const reply = JSON.parse(text) as MonitorAnswer;
    if ("error" in reply) throw new ViaductError("LAB_FAILED", `outside L1: ${reply.error}`);
    return reply.value;
  } finally {
    closeSync(fd);
  }
}

/** The actions of the outside; each blocks this thread until it is done. */
export const outside: MonitorActions = {
  plug: async (text, args = {}) => String(ask({ action: "plug", text, args })),
  unplug: async (text) => void ask({ action: "unplug", text }),
  qmp: async (text, args = {}) => ask({ action: "qmp", text, args }),
  hmp: async (text) => String(ask({ action: "hmp", text })),
};
