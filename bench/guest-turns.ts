/**
 * Two guests at the same time in one L1, one under Viaduct and one under QEMU, given commands by
 * turns (A B B A): what is compared happened in the same second, so the drift of the machine's
 * speed cancels. `guest-turns.c` is the part in L1.
 */

import { readFileSync } from "node:fs";
import { type GuestRunOptions, qemuCommandInside, viaductCommand } from "../lab/guest-run.ts";
import type { L1 } from "../lab/l1.ts";
import { progress } from "../lab/progress.ts";
import { ViaductError } from "../src/sys/sys-error.ts";
import { compiled } from "./compiled.ts";
import { median, type Spread, spread } from "./median.ts";

export type Monitor = "viaduct" | "qemu";

/** The end of a guest's job: answers each command typed on its console with its last line. */
export const ANSWER_COMMANDS = `
say ready
while read -r command; do say "$($command 2>&1 | tail -n 1)"; done
`;

const START_LIMIT_MS = 400_000;
const ATTEMPTS = 3;

/** What one guest printed for one command. */
export interface Turn {
  readonly monitor: Monitor;
  readonly command: string;
  readonly answer: string;
  /** Processor time that the emulation of L1 took meanwhile. */
  readonly workMs: number;
}

/** Two turns of each, the order A B B A: one comparison. */
export type Round = Readonly<Record<Monitor, readonly Turn[]>>;

export interface TurnOptions {
  readonly guests: Readonly<Record<Monitor, GuestRunOptions>>;
  /** Commands in the order in which they are compared; each is one round. */
  readonly commands: readonly string[];
  readonly limitMs: number;
}

/** User and system time of a process, proc(5) stat 14 and 15, in ticks of 10 ms. */
export function processorMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Each command's round, in order. A pair of guests that does not come up is started again. */
export async function byTurns(l1: L1, options: TurnOptions): Promise<Round[]> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await once(l1, options);
    } catch (error) {
      if (attempt === ATTEMPTS || !(error instanceof ViaductError)) throw error;
      progress(`${error.message}; starting both guests again`);
    }
  }
}

async function once(l1: L1, { guests, commands, limitMs }: TurnOptions): Promise<Round[]> {
  const order = commands.flatMap((command, round) => {
    const [first, second]: Monitor[] = round % 2 === 0 ? ["viaduct", "qemu"] : ["qemu", "viaduct"];
    return [first!, second!, second!, first!].map((monitor) => ({ monitor, command }));
  });
  const turns: Turn[] = [];
  let before = 0;
  let left = "";
  const result = await l1.run(
    [
      ...[await compiled("guest-turns"), ...viaductCommand(guests.viaduct)],
      ...["--", ...(await qemuCommandInside(guests.qemu))],
    ],
    {
      timeoutMs: limitMs + START_LIMIT_MS,
      stdin: order.map(({ monitor, command }) => `${NAMES[monitor]} ${command}\n`).join(""),
      onOutput: (stream, text) => {
        if (stream !== "stdout") return;
        const now = processorMs(l1.pid);
        const lines = (left + text).split("\n");
        left = lines.pop()!;
        for (const line of lines) {
          if (line.startsWith("begin ")) before = now;
          const answer = /^end [ab] (.*)$/.exec(line)?.[1];
          if (answer === undefined) continue;
          turns.push({ ...order[turns.length]!, answer, workMs: now - before });
        }
      },
    },
  );
  if (result.status !== 0 || turns.length !== order.length) {
    const seen = `${result.stdout.slice(-1000)}\n${result.stderr.slice(-2000)}`;
    throw new ViaductError("LAB_FAILED", `two guests by turns: status ${result.status}: ${seen}`);
  }
  return commands.map((_, round) => {
    const own = turns.slice(4 * round, 4 * round + 4);
    const of = (monitor: Monitor) => own.filter((turn) => turn.monitor === monitor);
    return { viaduct: of("viaduct"), qemu: of("qemu") };
  });
}

const NAMES: Readonly<Record<Monitor, string>> = { viaduct: "a", qemu: "b" };

export interface PairedRatio extends Spread {
  readonly viaduct: number;
  readonly qemu: number;
}

/** @param value of one turn, such that Viaduct's over QEMU's is the ratio wanted */
export function pairedRatio(rounds: readonly Round[], value: (turn: Turn) => number): PairedRatio {
  const mean = (turns: readonly Turn[]) =>
    turns.reduce((sum, turn) => sum + value(turn), 0) / turns.length;
  const [viaduct, qemu] = [rounds.map((r) => mean(r.viaduct)), rounds.map((r) => mean(r.qemu))];
  const ratios = viaduct.map((each, at) => each / qemu[at]!);
  return { viaduct: median(viaduct), qemu: median(qemu), ...spread(ratios) };
}
