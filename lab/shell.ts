/** A person's shell in L1: this terminal, connected to L1's second console. */

import { ViaductError } from "../src/sys/sys-error.ts";
import type { L1 } from "./l1.ts";
import { connectWhenThere } from "./qmp.ts";

const DAY_MS = 24 * 3600_000;

/** Runs until the shell ends. @returns its status */
export async function openTerminal(l1: L1, addresses: readonly string[]): Promise<number> {
  const { stdin, stdout } = process;
  if (!stdin.isTTY) {
    throw new ViaductError("USAGE", "shell needs a terminal", {
      nextStep: 'for a script: npm run lab -- run -- sh -c "..."',
    });
  }
  const socket = await connectWhenThere(l1.terminal, 5000);
  const size = `stty rows ${stdout.rows} cols ${stdout.columns}`;
  const script = `exec setsid -c sh -c '${size}; exec "$0" -i' "$(command -v bash || echo sh)"`;
  stdin.setRawMode(true);
  stdin.pipe(socket);
  socket.pipe(stdout);
  try {
    const { status } = await l1.run(["sh", "-c", `${script} </dev/hvc0 >/dev/hvc0 2>&1`], {
      env: { VIADUCT_DEVICES: addresses.join(" "), TERM: process.env["TERM"] ?? "vt100" },
      timeoutMs: DAY_MS,
    });
    return status;
  } finally {
    stdin.setRawMode(false);
    stdin.unpipe(socket);
    stdin.pause();
    socket.destroy();
  }
}
