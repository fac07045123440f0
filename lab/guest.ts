/**
 * Small guests: an initramfs with busybox, the drivers a job needs and the job, a shell script.
 * With the stock Debian kernel drivers are its modules; the lab kernel has them built in.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { busybox } from "./busybox.ts";
import { cached, keyOf } from "./cache.ts";
import { type CpioEntry, cpio } from "./cpio.ts";
import { directories, moduleEntries } from "./initramfs.ts";
import type { Kernel } from "./kernel.ts";

const root = resolve(import.meta.dirname, "../..");

export interface GuestJob {
  /** Kernel modules by name; built-in ones are skipped. */
  readonly drivers?: readonly string[];
  /** Shell script; `say TEXT` prints a line for the host, `wait_for NODE` waits for a device. */
  readonly script: string;
  /** Static programs put into /bin. */
  readonly programs?: readonly string[];
}

/** Kernel parameters every small guest is run with; a verbose serial console costs seconds. */
export const GUEST_PARAMETERS = "console=ttyS0 quiet panic=-1";

/** The path of an initramfs for `job`, from the cache. */
export async function guestInitrd(kernel: Kernel, job: GuestJob): Promise<string> {
  const shell = await busybox();
  const { drivers = [], programs = [], script } = job;
  const init = readFileSync(join(root, "lab/guest.sh"));
  const contents = programs.map((path) => readFileSync(path));
  const key = keyOf(
    ...[kernel.bzImage, shell, init.toString(), script, drivers.join()],
    ...contents.map((bytes) => bytes.toString("latin1")),
  );
  return cached(`guests/${kernel.name}-${key}.cpio.gz`, (scratch) => {
    const entries: CpioEntry[] = [
      ...directories("bin", "dev", "proc", "sys", "tmp", "root"),
      { name: "bin/busybox", mode: 0o755, content: readFileSync(shell) },
      { name: "init", mode: 0o755, content: init },
      { name: "job", mode: 0o755, content: Buffer.from(script) },
      ...programs.map((path, index) => ({
        name: `bin/${basename(path)}`,
        mode: 0o755,
        content: contents[index]!,
      })),
      ...moduleEntries(kernel, drivers, shell),
    ];
    writeFileSync(scratch, gzipSync(cpio(entries), { level: 6 }));
  });
}

/** The lines a guest said to the host's side, without their mark. */
export function guestLines(console: string): string[] {
  return [...console.matchAll(/^guest: (.*?)\r?$/gm)].map((match) => match[1]!);
}
