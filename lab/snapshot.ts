/**
 * Snapshots of L1's memory: saved once where the agent is ready, restored for every test file. The
 * key covers all that the state depends on: QEMU, its command line, kernel and initramfs. Emulated
 * state does not depend on the host's CPU.
 */

import { setTimeout as delay } from "node:timers/promises";
import { ViaductError } from "../src/sys/sys-error.ts";
import { cached } from "./cache.ts";
import type { L1Machine } from "./l1-command.ts";
import { progress } from "./progress.ts";
import type { Qmp } from "./qmp.ts";

const SAVE_MS = 60_000;

/** The same command line with this at its end waits for a state instead of booting. */
export function restoreArguments(): string[] {
  return ["-incoming", "defer"];
}

export async function saveSnapshot(qmp: Qmp, path: string): Promise<void> {
  await qmp.execute("stop");
  await qmp.execute("migrate", { uri: `file:${path}` });
  const deadline = Date.now() + SAVE_MS;
  for (;;) {
    const { status } = (await qmp.execute("query-migrate")) as { status?: string };
    if (status === "completed") return;
    if (status === "failed" || Date.now() > deadline) {
      throw new ViaductError("LAB_FAILED", `cannot save L1's memory: migration ${status}`);
    }
    await delay(20);
  }
}

/** The path of `machine`'s snapshot, made when it is not there. */
export async function snapshotPath(machine: L1Machine): Promise<string> {
  return cached(`snapshots/${machine.key}`, async (scratch) => {
    progress("booting L1 once, for its snapshot");
    const { EmulatedL1 } = await import("./emulated-l1.ts");
    await EmulatedL1.makeSnapshot(machine, scratch);
  });
}
