/** Binding and putting back: the exact writes, the journal, and what is refused. */

import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import {
  acceptedResetMethods,
  bootOf,
  checkFree,
  entryFor,
  planBind,
  planRestore,
  planVfs,
  vfioDriverFor,
} from "../../../src/host/binding.ts";
import { applyChanges, changeText, type HostWriter } from "../../../src/host/changes.ts";
import { Host } from "../../../src/host/host.ts";
import { Journal } from "../../../src/host/journal.ts";
import { DISK, GPU, healthyHost, NIC } from "./built-host.ts";
import { PretendKernel } from "./pretend-kernel.ts";

const OWN = new Map([
  [NIC, "igb"],
  [DISK, "nvme"],
]);

async function withJournal(
  run: (journal: Journal, path: string) => void | Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "viaduct-journal-"));
  try {
    const path = join(folder, "deep/journal.ndjson");
    await run(new Journal(path), path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const state = (built: ReturnType<typeof healthyHost>) => {
  const device = Host.scan(built.tree()).device(NIC)!;
  return { driver: device.driver, override: device.override };
};

test("planBind writes the override, unbinds and probes, and never new_id", () => {
  const host = Host.scan(healthyHost().tree());
  const lines = planBind(host, host.device(NIC)!, "vfio-pci", { persist: false }).map(changeText);
  assert.deepEqual(lines, [
    `echo 'vfio-pci' > /sys/bus/pci/devices/${NIC}/driver_override`,
    `echo '${NIC}' > /sys/bus/pci/drivers/igb/unbind`,
    `echo '${NIC}' > /sys/bus/pci/drivers_probe`,
  ]);
  assert.deepEqual(planBind(host, host.device(GPU)!, "vfio-pci", { persist: false }), []);
});

test("a crash after any change leaves a journal that restore undoes all of", async () => {
  for (let failAt = 0; failAt <= 3; failAt++) {
    await withJournal(async (journal) => {
      const built = healthyHost();
      const before = state(built);
      const host = Host.scan(built.tree());
      const device = host.device(NIC)!;
      journal.record(entryFor(host, device));
      const changes = planBind(host, device, "vfio-pci", { persist: false });
      const bind = () => applyChanges(new PretendKernel(built, OWN, failAt), changes);
      if (failAt < changes.length) await assert.rejects(bind, { code: "DEVICE_UNSUPPORTED" });
      else await bind();
      const again = Host.scan(built.tree());
      const entry = journal.entries().get(NIC);
      const back = planRestore(again, again.device(NIC)!, entry, bootOf(again));
      await applyChanges(new PretendKernel(built, OWN), back);
      assert.deepEqual(state(built), before, `failed at ${failAt}`);
    });
  }
});

test("applyChanges makes what comes at last also when a change was refused", async () => {
  const built = healthyHost();
  const list = `${built.folderOf(NIC)}/reset_method`;
  const [choose, back] = ["bus", "flr bus"].map(
    (value) => ({ kind: "write", path: list, value }) as const,
  );
  const reset = { kind: "write", path: `${built.folderOf(NIC)}/reset`, value: "1" } as const;
  const failing = new PretendKernel(built, OWN);
  const writer: HostWriter = {
    apply: (change) => {
      if (change === reset) throw Object.assign(new Error("ENOTTY"), { code: "ENOTTY" });
      failing.apply(change);
    },
  };
  await assert.rejects(applyChanges(writer, [choose!, reset], [back!]), /reset: ENOTTY/);
  assert.deepEqual(failing.made, [choose, back]);
  failing.made.length = 0;
  await assert.rejects(applyChanges(writer, [reset, choose!], [back!]), /reset: ENOTTY/);
  assert.deepEqual(failing.made, [], "nothing was changed yet");
});

test("acceptedResetMethods leaves the bus out when others are on it", () => {
  const built = healthyHost();
  const methods = () => {
    const host = Host.scan(built.tree());
    return acceptedResetMethods(host, host.device(NIC)!);
  };
  assert.deepEqual(methods(), ["flr", "bus"]);
  const vf = NIC.replace(/00\.0$/, "10.0");
  built.pci({ address: vf, vendor: 0x8086, device: 0x10ca, classCode: 0x020000 });
  assert.deepEqual(methods(), ["flr"]);
});

test("the journal keeps the first state of a device, and survives a cut line", async () => {
  await withJournal((journal, path) => {
    const entry = { address: NIC, boot: "b1", driver: "igb", override: null };
    journal.record(entry);
    journal.record({ ...entry, driver: "vfio-pci", override: "vfio-pci" });
    journal.record({ ...entry, address: DISK, driver: "nvme" });
    appendFileSync(path, '{"address":"0000:09:00.0","bo');
    assert.deepEqual(
      [...journal.entries().values()].map(({ driver }) => driver),
      ["igb", "nvme"],
    );
    journal.forget(new Set([NIC]));
    assert.deepEqual([...journal.entries().keys()], [DISK]);
  });
});

test("planRestore does nothing to sysfs after a restart of the host, but drops the rule", () => {
  const host = Host.scan(healthyHost().tree());
  const entry = { address: NIC, boot: "old", driver: null, override: null, rule: "/etc/udev/x" };
  assert.deepEqual(planRestore(host, host.device(NIC)!, entry, "new"), [
    { kind: "remove", path: "/etc/udev/x" },
  ]);
});

test("checkFree refuses the default route, the root disk and an open group, naming each", () => {
  const built = healthyHost().process(812, "qemu-system-x86", "/dev/vfio/14");
  const host = Host.scan(built.tree());
  const refuse = (address: string) => () => checkFree(host, [host.device(address)!]);
  assert.throws(refuse(NIC), /carries the default route \(eth0\)/);
  assert.throws(refuse(DISK), /nvme0n1p2 is mounted at \//);
  assert.throws(refuse(GPU), /\/dev\/vfio\/14 is open in qemu-system-x86 \(pid 812\)/);
});

test("checkFree sees through LVM, swap, a bridge's port and the last display", () => {
  const built = healthyHost()
    .file("/proc/net/route", "Iface\tDestination\tGateway\nbr0\t00000000\t0100A8C0\n")
    .link("/sys/class/net/eth0/master", "../br0")
    .file("/proc/mounts", "/dev/mapper/vg-root / ext4 rw 0 0\n")
    .folder("/sys/class/block/dm-0/slaves/nvme0n1p2")
    .file("/sys/class/block/dm-0/dm/name", "vg-root\n");
  built.pci({
    address: "0000:05:00.0",
    vendor: 0x1002,
    device: 0x73bf,
    classCode: 0x030000,
    driver: "amdgpu",
    group: 21,
  });
  built.remove("/sys/class/net/eth0");
  const nic = built.folderOf(NIC);
  built.link(`${nic}/net/eth0/master`, "../../../../../virtual/net/br0");
  built.link("/sys/class/net/eth0", `../..${nic.slice(4)}/net/eth0`);
  const host = Host.scan(built.tree());
  assert.throws(() => checkFree(host, [host.device(DISK)!]), /is mounted at \//);
  assert.throws(() => checkFree(host, [host.device(NIC)!]), /default route \(br0\)/);
  assert.throws(() => checkFree(host, [host.device("0000:05:00.0")!]), /only display/);
});

test("planVfs goes through 0, as the kernel demands", () => {
  const built = healthyHost();
  built.file(`${built.folderOf(NIC)}/sriov_totalvfs`, "7");
  built.file(`${built.folderOf(NIC)}/sriov_numvfs`, "2");
  const device = Host.scan(built.tree()).device(NIC)!;
  const values = (count: number) =>
    planVfs(device, count).map((change) => (change.kind === "write" ? change.value : ""));
  assert.deepEqual(values(4), ["0", "4"]);
  assert.deepEqual(values(0), ["0"]);
  assert.deepEqual(values(2), []);
});

test("vfioDriverFor takes the variant that the kernel's aliases name", () => {
  const built = healthyHost().file(
    "/lib/modules/6.12.1-amd64/modules.alias",
    "alias vfio_pci:v00008086d00001521sv*sd*bc*sc*i* igb_vfio_pci\n",
  );
  const host = Host.scan(built.tree());
  assert.equal(vfioDriverFor(host, host.device(NIC)!), "igb_vfio_pci");
  assert.equal(vfioDriverFor(host, host.device(GPU)!), "vfio-pci");
});
