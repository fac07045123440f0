/**
 * The lab itself: what every test in L1 relies on. In L1 are the real kernel, the real VFIO and
 * the real KVM; nothing here needs a privilege on this machine.
 */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { L1 } from "../../lab/l1.ts";
import { TOPOLOGIES } from "../../lab/zoo.ts";

const root = resolve(import.meta.dirname, "../../..");
const inside = join(root, "dist/lab/inside.js");

// One L1 from its snapshot, for all tests that need no arrangement of their own.
let l1: L1;
let folder: string;

before(
  async () => {
    folder = mkdtempSync(join(tmpdir(), "viaduct-lab-test-"));
    l1 = await L1.start();
  },
  { timeout: 20 * 60_000 },
);

after(async () => {
  await l1?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

test("run gives standard output, standard error and the exit status", async () => {
  const result = await l1.shell("echo out; echo err >&2; exit 7");
  assert.deepEqual(result, { status: 7, stdout: "out\n", stderr: "err\n", timedOut: false });
});

test("run passes input and environment, and words as they are", async () => {
  const { stdout } = await l1.run(["sh", "-c", 'cat; echo "$0|$A"', "it's $HOME"], {
    stdin: "in\n",
    env: { A: "a b" },
  });
  assert.equal(stdout, "in\nit's $HOME|a b\n");
});

test("run kills what takes longer than its limit, children too", async () => {
  const started = Date.now();
  const { status, timedOut } = await l1.shell("sleep 100 & sleep 100", { timeoutMs: 1000 });
  assert.deepEqual({ status, timedOut }, { status: 137, timedOut: true });
  assert(Date.now() - started < 15_000, "ended near its limit");
  const list = "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o 'sleep 10[0]'";
  const left = await l1.shell(list);
  assert.equal(left.stdout, "");
});

test("commands run side by side", async () => {
  const waiting = l1.shell("while [ ! -e /tmp/go ]; do sleep 0.05; done; echo went");
  await l1.sh("touch /tmp/go");
  assert.equal((await waiting).stdout, "went\n");
});

test("onOutput sees output before the command ends", async () => {
  let firstAt = 0;
  await l1.shell("echo first; sleep 1; echo second", {
    onOutput: (_, text) => {
      if (text.includes("first")) firstAt = Date.now();
    },
  });
  assert(firstAt > 0 && Date.now() - firstAt > 500);
});

test("VFIO, iommufd and KVM are real, and node loads koffi from the repository", async () => {
  assert.equal(await l1.sh("ls /dev/kvm /dev/iommu /dev/vfio/vfio | wc -l"), "3");
  const script = "process.stdout.write(require('koffi').version)";
  assert.match((await l1.run(["node", "-e", script], { cwd: root })).stdout, /^\d+\.\d+/);
});

test("the repository is writable inside and untouched outside", async () => {
  const file = join(root, "written-in-l1");
  assert.equal(await l1.sh(`echo inside > ${file} && cat ${file}`), "inside");
  assert(!existsSync(file));
});

test("plug shows a device in L1, bindVfio gives it to vfio-pci, unplug takes it away", async () => {
  const image = join(folder, "disk,one.img");
  writeFileSync(image, Buffer.alloc(1 << 20, "viaduct "));
  const bdf = await l1.plug("nvme", { drive: image, serial: "lab" });
  const device = `/sys/bus/pci/devices/${bdf}`;
  assert.equal(await l1.sh(`cat ${device}/class`), "0x010802");
  await l1.bindVfio(bdf);
  assert.equal(await l1.sh(`basename $(readlink ${device}/driver)`), "vfio-pci");
  const group = await l1.sh(`basename $(readlink ${device}/iommu_group)`);
  assert.equal(await l1.sh(`[ -c /dev/vfio/${group} ] && echo there`), "there");
  await l1.unplug(bdf);
  assert.equal(await l1.sh(`[ -e ${device} ] || echo gone`), "gone");
});

test("plug says what QEMU says of a wrong device", async () => {
  await assert.rejects(l1.plug("nvme", { nonsense: 1 }), /nonsense/);
  await assert.rejects(l1.plug("no-such-device"), /not a valid device model name/);
});

test("a program inside acts on the machine that it runs in", async () => {
  const script = `
    import { outside } from ${JSON.stringify(inside)};
    const bdf = await outside.plug("edu", { id: "from-inside" });
    console.log(bdf, (await outside.hmp("info version")).trim());
    await outside.qmp("no-such-command").catch((error) => console.log(error.message));`;
  const { stdout, stderr } = await l1.run(["node", "--input-type=module", "-e", script]);
  assert.match(stdout, /^0000:0\d:00\.0 11\./, stderr);
  assert.match(stdout, /no-such-command has not been found/);
});

test("an AER error injected from outside reaches L1's root port", async () => {
  const bdf = await l1.plug("virtio-net-aer", { id: "aer" });
  const text = await l1.hmp("pcie_aer_inject_error aer COMP_ABORT");
  assert.match(text, /OK/);
  const counter = `/sys/bus/pci/devices/${bdf}/aer_dev_nonfatal`;
  const seen = await l1.sh(
    `for try in $(seq 100); do
       grep -q 'CmpltAbrt 1' ${counter} && break; sleep 0.05
     done; grep CmpltAbrt ${counter}`,
  );
  assert.equal(seen, "CmpltAbrt 1");
});

test("QEMU runs inside L1", async () => {
  const { qemuCommand, qemuPrefix } = await import("../../lab/qemu.ts");
  const { program, args } = qemuCommand(await qemuPrefix(), ["--version"]);
  const { status, stdout } = await l1.run([program, ...args]);
  assert.equal(status, 0);
  assert.match(stdout, /^QEMU emulator version/);
});

test("L1 with devices of its own boots with them", { timeout: 5 * 60_000 }, async () => {
  await using l1 = await L1.start({ devices: TOPOLOGIES["bridge-shared"].devices });
  const groups = await l1.sh(`for bdf in $(ls /sys/bus/pci/devices | grep 0000:09:); do
    basename $(readlink /sys/bus/pci/devices/$bdf/iommu_group)
  done`);
  assert.equal(groups.split("\n").length, 3);
  assert.equal(new Set(groups.split("\n")).size, 1);
});

test("a device that QEMU refuses is named, in QEMU's words, and soon", async () => {
  const started = Date.now();
  await assert.rejects(L1.start({ devices: ["no-such-device"] }), /QEMU ended.*no-such-device/s);
  assert(Date.now() - started < 20_000);
});

test("the Debian kernel has the legacy VFIO and no iommufd", { timeout: 10 * 60_000 }, async () => {
  await using l1 = await L1.start({ kernel: "debian" });
  assert.match(await l1.sh("uname -r"), /^6\.12\./);
  const bdf = await l1.plug("e1000e");
  await l1.bindVfio(bdf);
  assert.equal(
    await l1.sh("ls /dev/vfio/vfio; ls /dev/iommu 2>/dev/null || true"),
    "/dev/vfio/vfio",
  );
});

test("L1 ends with the process that began it, however that ends", {
  timeout: 120_000,
}, async () => {
  const cli = join(root, "dist/lab/cli.js");
  const child = spawn(process.execPath, [cli, "run", "--", "sh", "-c", "echo up; sleep 60"]);
  await new Promise((seen) => {
    child.stdout.on("data", (text: Buffer) => {
      if (text.toString().includes("up")) seen(undefined);
    });
  });
  const own = `viaduct-l1-${child.pid}-`;
  const socketFolder = join(tmpdir(), readdirSync(tmpdir()).find((name) => name.startsWith(own))!);
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  // Until then its process is still there, as a zombie, and its folder is in use.
  await ended;
  const running = (): boolean =>
    commandLines().some((text) => text.includes(`${socketFolder}/qmp`));
  for (let tries = 0; running() && tries < 50; tries++) await delay(100);
  assert(!running(), "QEMU is gone");
  assert(existsSync(socketFolder), "SIGKILL leaves the folder of sockets");
  await (await L1.start())[Symbol.asyncDispose]();
  assert(!existsSync(socketFolder), "the next start removes it");
});

function commandLines(): string[] {
  const processes = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return processes.map((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8");
    } catch {
      return ""; // it has just ended
    }
  });
}

test("run of the command line ends with the command's status", { timeout: 120_000 }, () => {
  const cli = join(root, "dist/lab/cli.js");
  const args = [cli, "run", "--device", "edu", "--", "sh", "-c", "echo $VIADUCT_DEVICES; exit 9"];
  const { status, stdout } = spawnSync(process.execPath, args, { encoding: "utf8" });
  assert.equal(status, 9);
  assert.match(stdout, /^0000:[0-9a-f]{2}:00\.0\n$/);
});
