/**
 * How fast a guest reads its assigned NVMe disk, under Viaduct and under QEMU by turns. Both guests
 * run at the same time in one L1, each with a controller of its own; some pairs of guests, because
 * where a guest's memory and pages come to lie makes it faster or slower for its life; the
 * controllers change hands from pair to pair.
 */

import { GUEST_PARAMETERS, guestInitrd } from "../lab/guest.ts";
import type { GuestRunOptions } from "../lab/guest-run.ts";
import { type KernelName, kernel } from "../lab/kernel.ts";
import { L1 } from "../lab/l1.ts";
import { progress } from "../lab/progress.ts";
import { compiled } from "./compiled.ts";
import {
  ANSWER_COMMANDS,
  byTurns,
  type PairedRatio,
  pairedRatio,
  type Round,
  type Turn,
} from "./guest-turns.ts";

export interface ReadFigures {
  readonly what: string;
  readonly rounds: number;
  /** Reads in a second of the guest's clock. */
  readonly clock: PairedRatio;
  /** Reads in a second of processor time that the emulation of L1 took. */
  readonly work: PairedRatio;
}

export interface ReadsOptions {
  readonly kernel: KernelName;
  /** A file for the controllers; each gets a layer of its own over it. */
  readonly disk: string;
  readonly pairs: number;
  readonly rounds: number;
}

const PATTERNS = [
  { what: "sequential, 128 KiB", pattern: "sequential", block: 131_072, count: 400 },
  { what: "random, 4 KiB", pattern: "random", block: 4096, count: 1000 },
] as const;

const RAM = "512M";
const ROUND_LIMIT_MS = 120_000;
const JOB = `
wait_for /dev/nvme0n1
nvme-io /dev/nvme0n1 sequential 131072 64 >/dev/null
nvme-io /dev/nvme0n1 random 4096 200 >/dev/null
${ANSWER_COMMANDS}`;

export async function measureReads(options: ReadsOptions): Promise<ReadFigures[]> {
  const files = await kernel(options.kernel);
  const programs = [await compiled("nvme-io")];
  const initrd = await guestInitrd(files, { drivers: ["nvme"], programs, script: JOB });
  const guest = (bdf: string): GuestRunOptions => ({
    bzImage: files.bzImage,
    initrd,
    append: GUEST_PARAMETERS,
    memory: RAM,
    devices: ["pcie-root-port,id=rp0,chassis=1", `vfio-pci,host=${bdf},bus=rp0`],
  });
  await using l1 = await L1.start({ kernel: options.kernel });
  const controllers: string[] = [];
  for (const serial of ["first", "second"]) {
    controllers.push(await l1.plug("nvme", { drive: await l1.drive(options.disk), serial }));
  }
  await l1.bindVfio(...controllers);
  const rounds: Round[] = [];
  for (let pair = 0; pair < options.pairs; pair++) {
    const [mine, theirs] = pair % 2 === 0 ? controllers : controllers.toReversed();
    const commands = Array.from({ length: options.rounds }, (_, round) =>
      PATTERNS.map(
        ({ pattern, block, count }) =>
          `nvme-io /dev/nvme0n1 ${pattern} ${block} ${count} ${100 * pair + round + 1}`,
      ),
    ).flat();
    const limitMs = commands.length * ROUND_LIMIT_MS;
    const guests = { viaduct: guest(mine!), qemu: guest(theirs!) };
    rounds.push(...(await byTurns(l1, { guests, commands, limitMs })));
    progress(`reads: pair ${pair + 1} of ${options.pairs}`);
  }
  return PATTERNS.map(({ what, count }, at) => {
    const own = rounds.filter((_, index) => index % PATTERNS.length === at);
    return {
      what,
      rounds: own.length,
      clock: pairedRatio(own, ({ answer }) => count / seconds(answer)),
      work: pairedRatio(own, ({ workMs }: Turn) => count / (workMs / 1000)),
    };
  });
}

function seconds(answer: string): number {
  const found = / seconds=([\d.]+)$/.exec(answer);
  if (found === null) throw new Error(`the guest answered: ${answer}`);
  return Number(found[1]);
}
