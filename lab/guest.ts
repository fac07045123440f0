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
  /** The script calls `load_drivers` itself; else they are loaded before it. */
  readonly driversByJob?: true;
  /** Static programs put into /bin. */
  readonly programs?: readonly string[];
  /** Further files, by their path in the guest without a leading slash. */
  readonly files?: ReadonlyMap<string, string>;
}

/** Kernel parameters every small guest is run with; a verbose serial console costs seconds. */
export const GUEST_PARAMETERS = "console=ttyS0 quiet panic=-1";

/** The path of an initramfs for `job`, from the cache. */
export async function guestInitrd(kernel: Kernel, job: GuestJob): Promise<string> {
  const shell = await busybox();
  const { drivers = [], programs = [], files = new Map<string, string>(), script } = job;
  const init = readFileSync(join(root, "lab/guest.sh"));
  const executable = (name: string, path: string): CpioEntry => ({
    name,
    mode: 0o755,
    content: readFileSync(path),
  });
  const more = [
    ...programs.map((path) => executable(`bin/${basename(path)}`, path)),
    ...[...files].map(([name, path]) => executable(name, path)),
  ];
  const key = keyOf(
    ...[kernel.bzImage, shell, init.toString(), script, drivers.join(), `${job.driversByJob}`],
    ...more.flatMap(({ name, content }) => [name, Buffer.from(content!).toString("latin1")]),
  );
  return cached(`guests/${kernel.name}-${key}.cpio.gz`, (scratch) => {
    const entries: CpioEntry[] = [
      ...directories("bin", "dev", "proc", "sys", "tmp", "root"),
      { name: "bin/busybox", mode: 0o755, content: readFileSync(shell) },
      { name: "init", mode: 0o755, content: init },
      { name: "job", mode: 0o755, content: Buffer.from(script) },
      ...moduleEntries(kernel, drivers, shell),
      ...(job.driversByJob ? directories("modules/by-job") : []),
      ...directories(...foldersOf(files.keys())),
      ...more,
    ];
    writeFileSync(scratch, gzipSync(cpio(entries), { level: 6 }));
  });
}

/** The folders on the way to `names`, outer ones first. */
function foldersOf(names: Iterable<string>): string[] {
  const folders = new Set<string>();
  for (const name of names) {
    const parts = name.split("/").slice(0, -1);
    parts.forEach((_, index) => void folders.add(parts.slice(0, index + 1).join("/")));
  }
  return [...folders];
}

/** The lines a guest said to the host's side, without their mark. */
export function guestLines(console: string): string[] {
  return [...console.matchAll(/^guest: (.*?)\r?$/gm)].map((match) => match[1]!);
}
