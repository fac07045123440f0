import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { code } from "../machine/payload.ts";
import { type Message, RawClient } from "../qmp/raw-client.ts";
import { EDU, GuestFiles, MSIX, skip, softwareRun } from "./software-run.ts";

/** A run with a control socket and a free root port, whose guest does nothing. */
function start(files: GuestFiles) {
  const path = join(files.folder, "socket");
  const outcome = softwareRun([
    ...files.args(files.image("idle", code.spin())),
    ...["--device", "pcie-root-port,id=rp0", "--device", `vfio-pci,host=${EDU},id=edu,bus=pcie.0`],
    ...["--qmp", `unix:${path},server=on`],
  ]);
  return { path, outcome };
}

async function connected(path: string): Promise<RawClient> {
  while (!existsSync(path)) await delay(5);
  return RawClient.negotiated(path);
}

test("viaduct run --qmp: a client stops, resets, plugs, unplugs and ends a guest", {
  skip,
}, async () => {
  using files = new GuestFiles();
  const { path, outcome } = start(files);
  using client = await connected(path);
  const seen: Message[] = [];
  const ask = async (execute: string, args?: Record<string, unknown>): Promise<unknown> => {
    client.send(JSON.stringify({ execute, arguments: args }));
    for (;;) {
      const message = (await client.next())!;
      if (message["event"] === undefined) return message["return"] ?? message["error"];
      seen.push(message);
    }
  };
  while (((await ask("query-status")) as { status: string }).status !== "running") await delay(5);
  await ask("stop");
  assert.deepEqual(await ask("query-status"), { running: false, status: "paused" });
  await ask("system_reset");
  assert.deepEqual(await ask("query-status"), { running: false, status: "paused" });
  await ask("cont");
  for (let cycle = 0; cycle < 5; cycle++) {
    const device = { driver: "vfio-pci", id: "msix", host: MSIX, bus: "rp0" };
    assert.deepEqual(await ask("device_add", device), {});
    // The guest never gave the slot power.
    assert.deepEqual(await ask("device_del", { id: "msix" }), {});
  }
  const refused = (await ask("device_del", { id: "edu" })) as { desc: string };
  assert.equal(refused.desc, "Bus 'pcie.0' does not support hotplugging");
  assert.deepEqual(await ask("system_reset"), {});
  assert.deepEqual(await ask("quit"), {});
  for (let message = await client.next(); message; message = await client.next()) {
    seen.push(message);
  }
  const deleted = Array.from({ length: 5 }, () => "DEVICE_DELETED");
  assert.deepEqual(
    seen.map(({ event }) => event).filter((event) => event !== "RESUME"),
    ["STOP", "RESET", ...deleted, "RESET", "SHUTDOWN"],
  );
  const { error, status, left } = await outcome;
  assert.deepEqual([error, status, left], [undefined, 0, []]);
  assert.equal(existsSync(path), false);
});

test("viaduct run --qmp: a path that cannot be had ends the start with nothing held", {
  skip,
}, async () => {
  using files = new GuestFiles();
  const path = join(files.folder, "file");
  writeFileSync(path, "");
  const { error, left } = await softwareRun([...files.args(), "--qmp", `unix:${path}`]);
  assert.match(String(error), /there is a file of that name/);
  assert.deepEqual(left, []);
});
