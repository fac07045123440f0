/**
 * Takes the pages of guest RAM from the host piece by piece and says how far it is. Mapping for DMA
 * takes them as well, but all in one system call, minutes long for a large guest, in which this
 * process can say nothing.
 */

import { MADV_POPULATE_WRITE } from "../abi/mman.ts";
import type { Address, Syscalls } from "../sys/syscalls.ts";
import type { Report } from "./report.ts";

const PIECE = 256 * 2 ** 20;
const FIRST_REPORT_MS = 1000;
const MIB = 2 ** 20;

export interface RamToPopulate {
  /** For messages: `pc.ram`. */
  readonly name: string;
  readonly hva: Address;
  readonly size: number;
}

/**
 * Best effort: a kernel before Linux 5.14 does not know how, and what it refuses here the mapping
 * will be refused too, with a better message.
 * @param now milliseconds of a clock
 */
export function populateRam(
  sys: Pick<Syscalls, "madvise">,
  { name, hva, size }: RamToPopulate,
  report: Report,
  now: () => number = () => performance.now(),
): void {
  const start = now();
  let next = FIRST_REPORT_MS;
  for (let done = 0; done < size; ) {
    const piece = Math.min(PIECE, size - done);
    if (sys.madvise(hva + done, piece, MADV_POPULATE_WRITE) < 0) return;
    done += piece;
    const spent = now() - start;
    if (spent < next || done === size) continue;
    // Ever more rarely: ten lines for a start of a quarter of an hour.
    next = 2 * spent;
    const percent = Math.floor((100 * done) / size);
    const seconds = Math.round(spent / 1000);
    report(
      `${name}: pinning ${Math.ceil(size / MIB)} MiB of guest RAM for DMA:` +
        ` ${percent} % after ${seconds} s`,
    );
  }
}
