/** L1's initramfs: busybox, the modules it cannot do without, and `init.sh`. A few megabytes. */

import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { busybox } from "./busybox.ts";
import { cached, keyOf } from "./cache.ts";
import { type CpioEntry, cpio } from "./cpio.ts";
import type { Kernel } from "./kernel.ts";
import { modulesInOrder } from "./modules.ts";

const root = resolve(import.meta.dirname, "../..");

/** What L1 needs before anything of the host is mounted, and what its tests use. */
const MODULES = [
  ..."virtio_pci virtio_console 9p 9pnet_virtio overlay".split(" "),
  ..."vfio_iommu_type1 vfio-pci kvm-amd kvm-intel pci-stub".split(" "),
  ..."mdev mtty mdpy mbochs virtio_vfio_pci".split(" "),
];

export function directories(...names: string[]): CpioEntry[] {
  return names.map((name) => ({ name, mode: 0o755 }));
}

/** Modules under /modules, and the order to load them in. */
export function moduleEntries(
  kernel: Kernel,
  wanted: readonly string[],
  shell: string,
): CpioEntry[] {
  const modules = modulesInOrder(kernel, wanted, shell);
  const order = Buffer.from(modules.map(({ name }) => name).join("\n"));
  return [
    ...directories("modules"),
    { name: "modules/order", mode: 0o644, content: order },
    ...modules.map(({ name, content }) => ({ name: `modules/${name}`, mode: 0o644, content })),
  ];
}

/** The path of the initramfs for `kernel`, from the cache. */
export async function initramfs(kernel: Kernel): Promise<string> {
  const shell = await busybox();
  const init = readFileSync(join(root, "lab/init.sh"));
  const key = keyOf(kernel.bzImage, shell, init.toString(), MODULES.join());
  return cached(`l1-${kernel.name}-${key}.cpio.gz`, (scratch) => {
    const entries = [
      ...directories("bin", "dev", "proc", "sys", "run", "ro", "rw", "new", "root"),
      { name: "bin/busybox", mode: 0o755, content: readFileSync(shell) },
      { name: "init", mode: 0o755, content: init },
      ...moduleEntries(kernel, MODULES, shell),
    ];
    writeFileSync(scratch, gzipSync(cpio(entries), { level: 1 }));
  });
}
