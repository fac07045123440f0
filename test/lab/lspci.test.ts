/** `viaduct show` and its decoder against the real lspci: pciutils of Debian, in a prefix. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { L1 } from "../../lab/l1.ts";
import { lspciCommand } from "../../lab/pciutils.ts";
import { quote } from "../../lab/quote.ts";
import { ScratchDisk } from "../../lab/scratch-disk.ts";
import { TOPOLOGIES, ZOO, type ZooEntry } from "../../lab/zoo.ts";
import { configText, decodeConfig } from "../../src/pci/decode.ts";
import { interfaceOf } from "./l1-state.ts";
import { lspciLines } from "./lspci-oracle.ts";
import { madeConfigSpaces } from "./made-config-spaces.ts";

const limit = { timeout: 300_000 };
/** Root ports that the topologies leave free. */
const AT_ONCE = 4;
const COLD = [
  ...TOPOLOGIES["bridge-shared"].devices,
  ...TOPOLOGIES.multifunction.devices.map((device) => device.replaceAll("rp7", "rp6")),
  ...TOPOLOGIES.switch.devices.map((device) => device.replaceAll("rp7", "rp5")),
  ...TOPOLOGIES.sound.devices.map((device) => device.replaceAll("rp7", "rp4")),
  ...TOPOLOGIES["default-port"].devices,
  // A window above 4 GiB.
  "pcie-root-port,bus=pcie.0,addr=0x1a,chassis=40,slot=40,pref64-reserve=8G",
  "VGA,bus=pcie.0,addr=0x1c",
];

let l1: L1;
let disk: ScratchDisk;
let program: string;
let args: readonly string[];

before(async () => {
  disk = new ScratchDisk(1);
  ({ program, args } = await lspciCommand(["-D", "-nn", "-vvv", "-xxxx"]));
  l1 = await L1.start({ devices: COLD });
  // Both read the same list of names.
  await l1.sh(`mkdir -p /usr/share/misc && cp ${args[args.indexOf("-i") + 1]} /usr/share/misc/`);
}, limit);

after(async () => {
  await l1?.[Symbol.asyncDispose]();
  disk?.[Symbol.dispose]();
});

/**
 * The text of each device, by address, where both say the same. Not compared:
 * - what decides about assignment: lspci does not know it, but for the group, which both print;
 * - the width of a bridge's prefetchable window: lspci calls one above 4 GiB 32-bit when it has it
 *   from the kernel;
 * - kernel modules: lspci needs libkmod's index, and L1 has none.
 */
function comparable(text: string): Map<string, string[]> {
  const ours =
    /^\t(?:IOMMU group: \d+, |Driver override: |Reset: |Power state: |SR-IOV: |Network: )/;
  const devices = text
    .trimEnd()
    .split(/\n\n+/)
    .map((device) => device.split("\n"));
  return new Map(
    devices.map(([head = "", ...lines]) => {
      const driver = lines.filter((line) => /^\tKernel driver in use: (?!none)/.test(line));
      const rest = lines.filter(
        (line) => !/^\tKernel (?:driver|modules)/.test(line) && !ours.test(line),
      );
      const plain = [head, ...driver, ...rest].map((line) =>
        line
          .replace(
            /^(\tPrefetchable memory behind bridge: )0*(\w+)-0*(\w+)(.*) \[\d\d-bit\]$/,
            "$1$2-$3$4",
          )
          .trimEnd(),
      );
      return [head.split(" ")[0]!, plain] as const;
    }),
  );
}

async function lspci(): Promise<string> {
  const { status, stdout, stderr } = await l1.run([program, ...args]);
  assert.equal(status, 0, stderr);
  return stdout;
}

/** Drivers begin to work with a device that was just plugged in: both must see the same. */
const TRIES_MAX = 10;

async function compare(addresses: readonly string[]): Promise<void> {
  for (let tries = 1; ; tries++) {
    const before = await lspci();
    const show = await l1.run(["node", "bin/viaduct.js", "show", "-x", ...addresses]);
    assert.equal(show.status, 0, show.stderr);
    if (tries < TRIES_MAX && (await lspci()) !== before) continue;
    const [theirs, ours] = [comparable(before), comparable(show.stdout)];
    assert.deepEqual([...ours.keys()], [...addresses]);
    for (const address of addresses) assert.deepEqual(ours.get(address), theirs.get(address));
    return;
  }
}

async function devicesOf(l1: L1): Promise<string[]> {
  return (await l1.sh("ls /sys/bus/pci/devices")).split("\n");
}

test("viaduct show agrees with lspci -vvv -xxxx on bridges and switches", limit, async () => {
  await compare(await devicesOf(l1));
});

const SLOTS = ["00:", ":1c", ".1", "0000:00:1c.0", "*:*:00.1"];
const IDS = ["8086:", ":10d3", "::0604", "::06xx", ":::01", "1b36:*:0604:00"];
const FILTERS = [
  ...SLOTS.map((text) => ["-s", text] as const),
  ...IDS.map((text) => ["-d", text] as const),
];

test("viaduct list -s and -d select what lspci selects", limit, async () => {
  const brief = [program, ...args.slice(0, args.indexOf("-D") + 1), "-n"].map(quote).join(" ");
  const script = FILTERS.map(([flag, text]) => {
    const filter = `${flag} ${quote(text)}`;
    const run = (command: string) => `${command} ${filter} | cut -d ' ' -f 1 | tr '\\n' ' '; echo`;
    return `${run(brief)}; ${run("node bin/viaduct.js list")}`;
  });
  const lines = (await l1.sh(script.join("\n"))).split("\n").map((line) => line.trim());
  FILTERS.forEach((filter, at) => {
    const [theirs, ours] = lines.slice(at * 2, at * 2 + 2);
    assert.equal(ours, theirs, filter.join(" "));
    assert.notEqual(ours, "", filter.join(" "));
  });
});

const plugged = Object.entries<ZooEntry>(ZOO).filter(([, entry]) => entry.cold !== true);

for (let first = 0; first < plugged.length; first += AT_ONCE) {
  const batch = plugged.slice(first, first + AT_ONCE);
  const names = batch.map(([name]) => name).join(", ");

  test(`viaduct show agrees with lspci on ${names}`, limit, async () => {
    const addresses: string[] = [];
    for (const [name, { wants }] of batch) {
      const drive = wants === undefined ? {} : { drive: disk.path, serial: "zoo" };
      addresses.push(await l1.plug(name, drive));
    }
    try {
      await compare([...addresses].sort());
    } finally {
      for (const address of addresses) await l1.unplug(address);
    }
  });
}

test("viaduct show agrees with lspci on a PF and its VFs", limit, async () => {
  const before = await devicesOf(l1);
  const pf = await l1.plug("igb");
  await interfaceOf(l1, pf);
  await l1.sh(`echo 2 >/sys/bus/pci/devices/${pf}/sriov_numvfs`);
  const added = (await devicesOf(l1)).filter((address) => !before.includes(address));
  assert.equal(added.length, 3);
  await compare(added);
});

test("configText says what lspci -vvv says of registers that no device has", async () => {
  const all = [...madeConfigSpaces(7), ...madeConfigSpaces(1234)];
  const theirs = await lspciLines(all.map(([, bytes]) => bytes));
  all.forEach(([name, bytes], at) => {
    const trim = (lines: readonly string[]) =>
      lines
        .filter((line) => !/^\t(?:Subsystem|!!!|DeviceName)/.test(line))
        .map((line) => line.trimEnd());
    assert.deepEqual(trim(configText(decodeConfig(bytes))), trim(theirs[at]!), name);
  });
});
