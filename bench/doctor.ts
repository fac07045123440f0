/**
 * `viaduct doctor` against `lspci -vvv` on a generated host of 1,000 PCI functions: the best of
 * some runs of each, and Node's own start. Run it: `node dist/bench/doctor.js [--json]`.
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const FUNCTIONS = 1000;
const RUNS = 7;
const ZERO = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n";

function buildTree(root: string): void {
  const sys = join(root, "sys");
  mkdirSync(join(sys, "bus/pci/devices"), { recursive: true });
  mkdirSync(join(sys, "bus/pci/drivers/vfio-pci"), { recursive: true });
  for (let i = 0; i < FUNCTIONS; i++) {
    const hex = (value: number) => value.toString(16).padStart(2, "0");
    const address = `0000:${hex((i >> 5) + 1)}:${hex(i & 31)}.0`;
    const folder = join(sys, "devices/pci0000:00", address);
    mkdirSync(folder, { recursive: true });
    for (const [name, content] of Object.entries(filesOf(address))) {
      writeFileSync(join(folder, name), content);
    }
    const group = join(sys, `kernel/iommu_groups/${i}/devices`);
    mkdirSync(group, { recursive: true });
    symlinkSync(`../../../kernel/iommu_groups/${i}`, join(folder, "iommu_group"));
    symlinkSync(`../../../../devices/pci0000:00/${address}`, join(group, address));
    symlinkSync(`../../../devices/pci0000:00/${address}`, join(sys, "bus/pci/devices", address));
    symlinkSync("../../../bus/pci/drivers/vfio-pci", join(folder, "driver"));
  }
}

/** A network card with power management, MSI-X, PCI Express and error reporting. */
function filesOf(address: string): Record<string, string | Uint8Array> {
  const config = new Uint8Array(4096);
  config.set([0x86, 0x80, 0x21, 0x15, 6, 0, 0x10]);
  config[0x0b] = 2;
  config[0x34] = 0x40;
  config.set([0x01, 0x50, 3, 0], 0x40);
  config.set([0x11, 0x60, 9, 0x80], 0x50);
  config.set([0x10, 0, 2, 0], 0x60);
  config.set([1, 0, 1, 0], 0x100);
  const event = ["DRIVER=vfio-pci", "PCI_CLASS=20000", "PCI_ID=8086:1521"];
  return {
    config,
    uevent: [...event, "PCI_SUBSYS_ID=8086:0001", `PCI_SLOT_NAME=${address}`].join("\n"),
    vendor: "0x8086\n",
    device: "0x1521\n",
    class: "0x020000\n",
    subsystem_vendor: "0x8086\n",
    subsystem_device: "0x0001\n",
    irq: "11\n",
    revision: "0x01\n",
    reset_method: "flr bus\n",
    reset: "",
    power_state: "D0\n",
    driver_override: "vfio-pci\n",
    numa_node: "0\n",
    resource: `0x00000000f6000000 0x00000000f6ffffff 0x0000000000040200\n${ZERO.repeat(12)}`,
  };
}

/** The shortest of some runs, in ms; undefined when the program is not there. */
function best(program: string, args: readonly string[]): number | undefined {
  let shortest: number | undefined;
  for (let run = 0; run < RUNS; run++) {
    const start = performance.now();
    const { error } = spawnSync(program, args, { stdio: "ignore" });
    if (error !== undefined) return undefined;
    const took = performance.now() - start;
    shortest = Math.min(shortest ?? took, took);
  }
  return shortest === undefined ? undefined : Math.round(shortest);
}

const root = mkdtempSync(join(tmpdir(), "viaduct-bench-"));
try {
  buildTree(root);
  const bin = resolve(import.meta.dirname, "../../bin/viaduct.js");
  const sysfs = `sysfs.path=${root}/sys/bus/pci`;
  const result = {
    functions: FUNCTIONS,
    doctorMs: best(process.execPath, [bin, "doctor", "--root", root, "--fail-on", "never"]),
    lspciMs: best("lspci", ["-A", "linux-sysfs", "-O", sysfs, "-vvv"]),
    nodeStartMs: best(process.execPath, ["-e", "0"]),
  };
  if (process.argv.includes("--json")) process.stdout.write(`${JSON.stringify(result)}\n`);
  else {
    for (const [name, value] of Object.entries(result)) {
      process.stdout.write(`${name.padEnd(14)}${value ?? "not installed"}\n`);
    }
  }
} finally {
  rmSync(root, { recursive: true, force: true });
}
