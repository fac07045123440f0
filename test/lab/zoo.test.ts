/** The device zoo through the kernel's VFIO: what each device offers is what zoo.ts says. */

import assert from "node:assert/strict";
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { L1 } from "../../lab/l1.ts";
import { ZOO, type ZooEntry } from "../../lab/zoo.ts";
import type { DeviceFacts } from "./device-facts.ts";

const program = resolve(import.meta.dirname, "device-facts.js");
const VGA = "0000:00:1c.0";
/** Root ports, and with them the devices that are opened by one process. */
const AT_ONCE = 8;

let l1: L1;
let folder: string;
let image: string;

before(
  async () => {
    folder = mkdtempSync(join(tmpdir(), "viaduct-zoo-"));
    image = join(folder, "disk.img");
    const fd = openSync(image, "w");
    ftruncateSync(fd, 1 << 20);
    closeSync(fd);
    l1 = await L1.start({ devices: ["VGA,bus=pcie.0,addr=0x1c"] });
  },
  { timeout: 20 * 60_000 },
);

after(async () => {
  await l1?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function factsOf(addresses: readonly string[]): Promise<DeviceFacts[]> {
  await l1.bindVfio(...addresses);
  const { status, stdout, stderr } = await l1.run(["node", program, ...addresses]);
  assert.equal(status, 0, stderr);
  const lines = stdout.trim().split("\n");
  return lines.map((line) => JSON.parse(line) as DeviceFacts);
}

const plugged = Object.entries<ZooEntry>(ZOO).filter(([, entry]) => entry.cold !== true);

for (let first = 0; first < plugged.length; first += AT_ONCE) {
  const batch = plugged.slice(first, first + AT_ONCE);
  const names = batch.map(([name]) => name);

  test(`VFIO offers of ${names.join(", ")} what the zoo says`, { timeout: 180_000 }, async () => {
    const addresses: string[] = [];
    for (const [name, { wants }] of batch) {
      const drive = wants === undefined ? {} : { drive: image, serial: "zoo" };
      addresses.push(await l1.plug(name, drive));
    }
    const found = await factsOf(addresses);
    assert.deepEqual(
      names.map((name, index) => [name, found[index]!.irqs, found[index]!.resets]),
      batch.map(([name, { irqs }]) => [name, irqs, true]),
    );
    for (const address of addresses) await l1.unplug(address);
  });
}

test("VFIO offers a VGA card's legacy region, and no interrupt or reset", async () => {
  const [vga] = await factsOf([VGA]);
  assert.deepEqual([vga!.irqs, vga!.resets, vga!.regions.at(-1)], [[0, 0, 0], false, 0xc_0000]);
});
