/**
 * The verbs that change a host, on a real kernel: what they write, what is undone after a crash at
 * any write, what they name when they refuse; and what the verbs that read see without root.
 */

import assert from "node:assert/strict";
import { resolve } from "node:path";
import { after, before, test } from "node:test";
import { L1 } from "../../lab/l1.ts";
import { ScratchDisk } from "../../lab/scratch-disk.ts";
import { TOPOLOGIES } from "../../lab/zoo.ts";
import { AS_NOBODY, doctor, viaduct } from "./doctor-in-l1.ts";
import { coldDevice, interfaceOf, SLOTLESS_PORT } from "./l1-state.ts";

const limit = { timeout: 300_000 };
const hook = resolve(import.meta.dirname, "write-trace.js");
const TRACE = "/tmp/writes";
const JOURNAL = "/var/lib/viaduct/journal.ndjson";

let l1: L1;
let disk: ScratchDisk;
let nvme: string;
let igb: string;
/** Two functions in one group. */
let card: readonly [string, string];

before(async () => {
  disk = new ScratchDisk(16);
  const multifunction = TOPOLOGIES.multifunction.devices.map((one) => one.replaceAll("rp7", "rp6"));
  const shared = TOPOLOGIES["bridge-shared"].devices;
  const alone = [SLOTLESS_PORT.device, "igb,bus=slotless"];
  l1 = await L1.start({ devices: [...shared, ...multifunction, ...alone] });
  nvme = await l1.plug("nvme", { drive: disk.path, serial: "viaduct" });
  igb = await coldDevice(l1, SLOTLESS_PORT.address);
  const first = await coldDevice(l1, "0000:00:16.0");
  card = [first, first.replace(/0$/, "1")];
}, limit);

after(async () => {
  await l1?.[Symbol.asyncDispose]();
  disk?.[Symbol.dispose]();
});

const sysfs = (bdf: string) => `/sys/bus/pci/devices/${bdf}`;

/** Drivers, overrides, reset methods and numbers of virtual functions of all devices. */
function hostState(): Promise<string> {
  return l1.sh(`cd /sys/bus/pci/devices; for bdf in *; do
    echo $bdf $(basename $(readlink $bdf/driver) 2>/dev/null) $(cat $bdf/driver_override)
    echo $(cat $bdf/reset_method $bdf/sriov_numvfs 2>/dev/null)
  done`);
}

/** Runs viaduct with the hook. @param killAt the write, from 1, before which it is killed */
function traced(args: readonly string[], killAt = 0) {
  const env = [`NODE_OPTIONS=--import=${hook}`, `WRITE_TRACE=${TRACE}`, `KILL_AT=${killAt}`];
  return viaduct(l1, args, ["env", ...env]);
}

async function succeeds(args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await viaduct(l1, args);
  assert.equal(status, 0, stderr);
  return stdout;
}

/** What `--dry-run` prints changes nothing; then exactly that is written, after the journal. */
async function writesWhatItSays(args: readonly string[]): Promise<void> {
  const before = await hostState();
  const said = await succeeds([...args, "--dry-run"]);
  assert.equal(await hostState(), before);
  await l1.sh(`rm -f ${TRACE}`);
  const { status, stdout, stderr } = await traced(args);
  assert.equal(status, 0, stderr);
  assert.equal(stdout, said);
  const written = (await l1.sh(`cat ${TRACE}`)).split("\n");
  assert.deepEqual(
    written.filter((line) => !line.includes(JOURNAL)),
    said.trim().split("\n"),
  );
  const firstChange = written.findIndex((line) => !line.includes(JOURNAL));
  const lastEntry = written.findLastIndex((line) => line.endsWith(JOURNAL));
  assert.ok(lastEntry < firstChange, "the journal is written before the first change");
}

test(
  "bind and restore write what --dry-run says, and restore puts all of it back",
  limit,
  async () => {
    const before = await hostState();
    await writesWhatItSays(["bind", nvme]);
    assert.equal(await l1.sh(`basename $(readlink ${sysfs(nvme)}/driver)`), "vfio-pci");
    assert.equal(await l1.sh(`cat ${sysfs(nvme)}/driver_override`), "vfio-pci");
    const said = await succeeds(["restore", nvme, "--dry-run"]);
    assert.match(said, new RegExp(`echo '${nvme}' > /sys/bus/pci/drivers/nvme/bind`));
    assert.equal(await succeeds(["restore", nvme]), said);
    assert.equal(await hostState(), before);
  },
);

test(
  "bind --group shows and binds every member but the bridge; without it, it warns",
  limit,
  async () => {
    const before = await hostState();
    const edu = await l1.sh('cd /sys/bus/pci/devices; grep -l "^0x11e8" */device | cut -d/ -f1');
    const alone = await viaduct(l1, ["bind", edu]);
    assert.equal(alone.status, 0, alone.stderr);
    assert.match(alone.stderr, /WARN {2}group \d+ is not viable yet: .*\(e1000\).*Add --group/);
    const whole = await viaduct(l1, ["bind", "--group", edu]);
    assert.equal(whole.status, 0, whole.stderr);
    assert.match(whole.stderr, /^With their group: \S+ \(e1000\), \S+ \(8139cp\)/m);
    const { groups } = JSON.parse(await succeeds(["groups", edu, "--json"])) as {
      groups: Array<{ verdict: string; devices: string[] }>;
    };
    assert.equal(groups[0]?.verdict, "viable");
    const drivers = await l1.sh(`for bdf in ${groups[0].devices.join(" ")}; do
      basename $(readlink ${sysfs("$bdf")}/driver)
    done`);
    assert.deepEqual(drivers.split("\n").sort(), ["vfio-pci", "vfio-pci", "vfio-pci"]);
    await succeeds(["restore", "--all"]);
    assert.equal(await hostState(), before);
  },
);

test(
  "restore --all puts everything back after kill -9 before any write of bind",
  limit,
  async () => {
    const before = await hostState();
    for (let killAt = 1; ; killAt++) {
      const { status } = await traced(["bind", "--group", card[0]], killAt);
      await succeeds(["restore", "--all"]);
      assert.equal(await hostState(), before, `killed before write ${killAt}`);
      if (status === 0) {
        assert.ok(killAt > 6, `only ${killAt - 1} writes`);
        return;
      }
      assert.equal(status, 137);
    }
  },
);

test(
  "sriov makes functions by way of 0 and removes them; restore knows how many there were",
  limit,
  async () => {
    const before = await hostState();
    await writesWhatItSays(["sriov", igb, "--num", "2"]);
    const list = await succeeds(["sriov", igb]);
    assert.match(
      list,
      new RegExp(`^${igb}: 2 of 7 VFs, driver igb\n(  \\S+ \\[group \\d+, igbvf\\]\n?){2}$`),
    );
    const said = await succeeds(["sriov", igb, "--num", "3", "--dry-run"]);
    assert.match(said, /echo '0' > .*\necho '3' > /);
    const { status } = await traced(["sriov", igb, "--num", "3"], 3);
    assert.equal(status, 137);
    assert.equal(await l1.sh(`cat ${sysfs(igb)}/sriov_numvfs`), "0");
    await succeeds(["restore", "--all"]);
    assert.equal(await hostState(), before);
  },
);

test("a VF that was bound goes back before its PF gives up its VFs", limit, async () => {
  const before = await hostState();
  await succeeds(["sriov", igb, "--num", "2"]);
  const vf = await l1.sh(`basename $(readlink ${sysfs(igb)}/virtfn1)`);
  await succeeds(["bind", vf]);
  await succeeds(["restore", "--all"]);
  assert.equal(await hostState(), before);
});

test(
  "reset by a named method writes what it says, and puts the list of methods back",
  limit,
  async () => {
    const before = await hostState();
    await writesWhatItSays(["reset", igb, "--method", "flr"]);
    assert.equal(await hostState(), before);
    await succeeds(["sriov", igb, "--num", "2"]);
    const failed = await viaduct(l1, ["reset", igb, "--method", "bus"]);
    assert.equal(failed.status, 1, failed.stdout);
    // The kernel asks the method whether it would work, and the bus has others on it.
    assert.match(failed.stderr, /reset_method: EINVAL/);
    await succeeds(["restore", "--all"]);
    assert.equal(await hostState(), before);
  },
);

test(
  "list, groups, show and doctor work without root, and say what they did not see",
  limit,
  async () => {
    await l1.sh("echo 1 >/proc/sys/kernel/dmesg_restrict");
    const asNobody = async (args: readonly string[]) => {
      const { status, stdout, stderr } = await viaduct(l1, args, AS_NOBODY);
      assert.doesNotMatch(stderr, /^ {4}at /m);
      return { status, stdout, stderr };
    };
    const list = await asNobody(["list", "-v"]);
    assert.equal(list.status, 0, list.stderr);
    // An idle port may have gone to sleep meanwhile.
    const awake = (text: string) => text.replaceAll(/Power state: D\w+/g, "");
    assert.equal(awake(list.stdout), awake(await succeeds(["list", "-v"])));
    const groups = await asNobody(["groups"]);
    assert.equal(groups.status, 0, groups.stderr);
    assert.equal(groups.stdout, await succeeds(["groups"]));
    const show = await asNobody(["show", nvme]);
    assert.equal(show.status, 0, show.stderr);
    assert.match(show.stdout, /Capabilities: <access denied>/);
    const { checks } = await doctor(l1, [nvme], AS_NOBODY);
    const unchecked = new Map(checks.map(({ code, reason }) => [code, reason]));
    assert.match(unchecked.get("IOMMU_FAULT") ?? "", /\/dev\/kmsg may not be read.*run as root/);
    assert.match(unchecked.get("GROUP_BUSY") ?? "", /hidden.*run as root/);
    const refused = await asNobody(["bind", nvme]);
    assert.equal(refused.status, 3, refused.stderr);
    await l1.sh("echo 0 >/proc/sys/kernel/dmesg_restrict");
  },
);

test(
  "a device is found by every name that lspci, virsh, driverctl and Linux give it",
  limit,
  async () => {
    const short = nvme.replace(/^0000:/, "");
    const names = [
      ...[nvme, short, short.toUpperCase(), short.replace(/\.0$/, ""), short.replace(/^0/, "")],
      ...[`pci_${nvme.replaceAll(/[:.]/g, "_")}`, "nvme0", "nvme0n1", "/dev/nvme0n1"],
    ];
    for (const name of names) {
      const { groups } = JSON.parse(await succeeds(["groups", name, "--json"])) as {
        groups: Array<{ devices: string[] }>;
      };
      assert.deepEqual(groups[0]?.devices, [nvme], name);
    }
    const interfaceName = await interfaceOf(l1, igb);
    assert.match(await succeeds(["sriov", interfaceName]), new RegExp(`^${igb}: `));
    const both = await succeeds(["show", card[0].replace(/\.0$/, "")]);
    for (const address of card) assert.match(both, new RegExp(`^${address} `, "m"));
    const unknown = await viaduct(l1, ["show", "ee:00.0"]);
    assert.equal(unknown.status, 4);
  },
);
