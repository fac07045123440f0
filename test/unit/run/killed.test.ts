import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { code } from "../machine/payload.ts";
import { GuestFiles, skip } from "./software-run.ts";

const VIADUCT = fileURLToPath(new URL("../../../../bin/viaduct.js", import.meta.url));
const LIMIT_MS = 30_000;

/** The command itself, in a process of its own. */
function start(kernel: string): { child: ChildProcess; output: () => string } {
  const child = spawn(process.execPath, [VIADUCT, "run", "--kernel", kernel, "-m", "64M"], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: LIMIT_MS,
  });
  let output = "";
  child.stdout?.on("data", (bytes) => {
    output += String(bytes);
  });
  return { child, output: () => output };
}

/** Resolves when the guest has printed `text`. */
async function printed(run: ReturnType<typeof start>, text: string): Promise<void> {
  while (!run.output().includes(text)) {
    assert.ok(run.child.exitCode === null && run.child.signalCode === null, "it ended too early");
    await Promise.race([once(run.child.stdout!, "data"), once(run.child, "exit")]);
  }
}

async function assertNextStartWorks(files: GuestFiles): Promise<void> {
  const next = start(files.kernel);
  const [status] = await once(next.child, "close");
  assert.deepEqual([status, next.output()], [0, "ok"]);
}

for (const signal of ["SIGKILL", "SIGTERM"] as const) {
  test(`viaduct run: after ${signal} in mid-run the next start works`, { skip }, async () => {
    using files = new GuestFiles();
    const running = start(files.image("spinning", [...code.print("go"), ...code.spin()]));
    await printed(running, "go");
    running.child.kill(signal);
    const [status, by] = await once(running.child, "exit");
    assert.deepEqual([status, by], signal === "SIGKILL" ? [null, signal] : [0, null]);
    await assertNextStartWorks(files);
  });
}
