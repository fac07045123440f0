/**
 * The two kernels. `debian` is the stock Debian 6.12 kernel, only downloaded: the one users have.
 * `lab` is built once from Debian's linux-source-7.3 with `kernel-options.ts`: iommufd, cdev, mdev
 * samples, fault injection. Both run as L1 and as a guest.
 */

import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { ViaductError } from "../src/sys/sys-error.ts";
import { buildRoot, runInBuildRoot } from "./build-root.ts";
import { cached, cachePath, keyOf } from "./cache.ts";
import { decompressXz } from "./decompress.ts";
import { kernelConfigFragment } from "./kernel-options.ts";
import { chosenPackages, type Package, type PackageSource } from "./packages.ts";
import { unpackedPrefix } from "./prefix.ts";
import { progress } from "./progress.ts";

export type KernelName = "lab" | "debian";

export interface Kernel {
  readonly name: KernelName;
  /** `uname -r`. */
  readonly release: string;
  readonly bzImage: string;
  /** The folder that holds `kernel/` and modules.dep, where there are modules. */
  readonly modules: string | undefined;
}

const SOURCE = "linux-source-7.3";
const STOCK = /^linux-image-6\.12\.\d+\+deb13-amd64$/;

/** Says so when the pinned series has left the mirror and its successor is taken. */
function pinned(source: PackageSource, name: RegExp, successor: RegExp, what: string): Package[] {
  const found = source.newest(name);
  if (found) return [found];
  const next = source.newest(successor);
  if (!next) {
    throw new ViaductError("LAB_FAILED", `${what}: no package of the mirror matches ${successor}`, {
      nextStep: "use a mirror that carries trixie and trixie-backports",
    });
  }
  progress(`${what} has left the mirror; taking ${next.name} ${next.version} instead`);
  return [next];
}

async function debianKernel(): Promise<Kernel> {
  const chosen = await chosenPackages("debian-kernel", ["trixie"], (source) =>
    pinned(source, STOCK, /^linux-image-\d[\d.]+\+deb13-amd64$/, "Debian 6.12"),
  );
  const root = await unpackedPrefix("debian-kernel", chosen);
  const release = chosen[0]!.name.replace("linux-image-", "");
  return {
    name: "debian",
    release,
    bzImage: join(root, "boot", `vmlinuz-${release}`),
    modules: join(root, "usr/lib/modules", release),
  };
}

async function build(source: Package, scratch: string): Promise<void> {
  const unpacked = await unpackedPrefix("linux-source", [source]);
  const tree = `${scratch}.tree`;
  mkdirSync(tree, { recursive: true });
  mkdirSync(scratch);
  try {
    const tarball = `${source.name}.tar.xz`;
    const plain = join(tree, "source.tar");
    await decompressXz(join(unpacked, "usr/src", tarball), plain);
    writeFileSync(join(tree, "lab.config"), kernelConfigFragment());
    progress(`building ${source.name} ${source.version}, once: 5 to 10 minutes`);
    execFileSync("tar", ["-xf", plain], { cwd: tree });
    rmSync(plain);
    const make = `make -s -C ${source.name} O=/work/out`;
    await runInBuildRoot(
      tree,
      [
        `KCONFIG_ALLCONFIG=/work/lab.config ${make} allnoconfig`,
        `${make} -j${cpus().length} bzImage modules`,
        `${make} headers`,
      ].join(" && "),
    );
    const modules = join(scratch, "modules");
    mkdirSync(modules);
    for (const name of readdirSync(join(tree, "out"), { recursive: true, encoding: "utf8" })) {
      if (name.endsWith(".ko"))
        copyFileSync(join(tree, "out", name), join(modules, name.replace(/^.*\//, "")));
    }
    copyFileSync(join(tree, "out/arch/x86/boot/bzImage"), join(scratch, "bzImage"));
    copyFileSync(join(tree, "out/.config"), join(scratch, "config"));
    copyFileSync(join(tree, "out/include/config/kernel.release"), join(scratch, "release"));
    renameSync(join(tree, "out/usr/include"), join(scratch, "include"));
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
}

async function labKernelSource(): Promise<{ source: Package; entry: string }> {
  const chosen = await chosenPackages("lab-kernel", ["trixie-backports", "trixie"], (source) =>
    pinned(source, /^linux-source-7\.3$/, /^linux-source-\d/, SOURCE),
  );
  const source = chosen[0]!;
  const key = keyOf(kernelConfigFragment(), source.version, await buildRoot());
  return { source, entry: `lab-kernel-${key}` };
}

async function labKernelFolder(): Promise<string> {
  const { source, entry } = await labKernelSource();
  return cached(entry, (scratch) => build(source, scratch));
}

/** Whether the lab kernel is in the cache, so that nobody waits for it unasked. */
export async function labKernelIsBuilt(): Promise<boolean> {
  return existsSync(cachePath((await labKernelSource()).entry));
}

async function labKernel(): Promise<Kernel> {
  const folder = await labKernelFolder();
  const release = readFileSync(join(folder, "release"), "utf8").trim();
  const bzImage = join(folder, "bzImage");
  return { name: "lab", release, bzImage, modules: join(folder, "modules") };
}

/** A kernel from the cache; downloaded, and for `lab` built, when it is not there. */
export function kernel(name: KernelName): Promise<Kernel> {
  return name === "lab" ? labKernel() : debianKernel();
}

/** The uAPI headers of the lab kernel: the newest this project is checked against. */
export async function kernelHeaders(): Promise<string> {
  return join(await labKernelFolder(), "include");
}

/** A module's file in a kernel's tree, by name with either of `-` and `_`. */
export function moduleFile(kernel: Kernel, name: string): string | undefined {
  if (kernel.modules === undefined || !existsSync(kernel.modules)) return undefined;
  const wanted = name.replaceAll("-", "_");
  const files = readdirSync(kernel.modules, { recursive: true, encoding: "utf8" });
  const found = files.find((file) => {
    const module = /([^/]+)\.ko(?:\.xz)?$/.exec(file)?.[1];
    return module?.replaceAll("-", "_") === wanted;
  });
  return found === undefined ? undefined : join(kernel.modules, found);
}
