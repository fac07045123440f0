/** Each code of the catalogue is found on a host that has the problem, and not on a healthy one. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { diagnose } from "../../../src/host/diagnose.ts";
import { CATALOGUE, entryOf } from "../../../src/host/findings/catalogue.ts";
import { Host } from "../../../src/host/host.ts";
import { logOf, readKernelLog } from "../../../src/host/kernel-log.ts";
import { BROKEN, optionRom } from "./broken-hosts.ts";
import { type BuiltHost, DISK, GPU, GPU_AUDIO, healthyHost } from "./built-host.ts";

function examine(built: BuiltHost, asked: readonly string[] = []) {
  const tree = built.tree();
  const host = Host.scan(tree);
  return diagnose({
    host,
    log: readKernelLog(tree),
    asked: asked.map((address) => host.device(address)!),
  });
}

/** A healthy host that answers every check, with the files that only some checks ask for. */
const complete = () =>
  healthyHost()
    .file(`${healthyHost().folderOf(GPU)}/rom`, optionRom(3))
    .file("/etc/modprobe.d/blacklist.conf", "blacklist pcspkr\n")
    .file("/lib/modules/6.12.1-amd64/modules.builtin", "")
    .file("/lib/modules/6.12.1-amd64/modules.alias", "");

function breakWith(code: string, built: BuiltHost): void {
  BROKEN.find((one) => one.code === code)!.breakIt(built);
}

BROKEN.forEach(({ code, breakIt, asked }, at) => {
  const before = BROKEN.slice(0, at).filter((one) => one.code === code).length;
  const way = before === 0 ? "" : `, way ${before + 1}`;
  test(`doctor finds ${code} on the broken host and not on the healthy one${way}`, () => {
    const broken = complete();
    breakIt(broken);
    const found = examine(broken, asked).findings.filter((finding) => finding.code === code);
    assert.ok(found.length > 0, "not found on the broken host");
    for (const { evidence, detail, fix, undo } of found) {
      assert.ok(evidence.length > 0 && detail !== "", "without evidence");
      for (const { path, value } of evidence) assert.ok(path !== "" && value !== "", path);
      assert.ok(fix.length > 0 && undo.length > 0, "without fix or undo");
    }
    const healthyAsked = code === "HOST_CRITICAL" ? [GPU] : asked;
    const healthy = examine(complete(), healthyAsked).results.find(
      (result) => result.entry.code === code,
    );
    assert.equal(healthy?.state, "clear", healthy?.reason);
  });
});

/** Codes that nothing on a host decides, with the reason that the doctor gives. */
const NOT_OF_A_HOST: Readonly<Record<string, RegExp>> = {
  VFU_RAM_NOT_SHARED: /the VM's configuration/,
  VFU_NO_MIGRATION: /depends on the client/,
};

test("the catalogue is whole: each code is checked, with a broken host, or says why not", () => {
  const broken = new Set(BROKEN.map(({ code }) => code));
  for (const { code, check, unchecked } of CATALOGUE) {
    const reason = NOT_OF_A_HOST[code];
    if (reason === undefined) {
      assert.ok(check !== undefined, `${code} has no check`);
      assert.ok(broken.has(code), `${code} has no broken host`);
    } else {
      assert.equal(check, undefined, `${code} is checked after all`);
      assert.match(unchecked ?? "", reason);
    }
  }
  assert.deepEqual(
    CATALOGUE.map(({ number }) => number),
    Array.from({ length: 56 }, (_, i) => i + 1),
  );
  assert.equal(new Set(CATALOGUE.map(({ code }) => code)).size, CATALOGUE.length);
});

test("each entry says cause, fix, undo and a source that can be looked up", () => {
  const SOURCE = /^(?:https:\/\/|Documentation\/|drivers\/|scripts\/|kernel\/)/;
  for (const { code, cause, fix, undo, source, causes = [] } of CATALOGUE) {
    assert.ok(cause !== "" && fix.length > 0 && undo.length > 0, code);
    for (const one of source.split("; ")) assert.match(one, SOURCE, code);
    for (const caused of causes) assert.ok(entryOf(caused) !== undefined, `${code}: ${caused}`);
  }
});

test("a host without problems has nothing to fix first", () => {
  const { first, findings } = examine(complete());
  assert.deepEqual(findings, []);
  assert.equal(first, undefined);
});

test("the cause is told before what it causes, whatever its own severity", () => {
  const built = complete();
  breakWith("IOMMU_KERNEL_OFF", built);
  built.remove("/dev/iommu").remove("/dev/vfio").remove("/sys/module/vfio");
  const { first, findings } = examine(built, [GPU]);
  assert.equal(first?.code, "IOMMU_KERNEL_OFF");
  assert.ok(findings.some(({ code }) => code === "VFIO_MISSING"));
  const race = complete();
  breakWith("BOOT_RACE", race);
  const codes = examine(race, [GPU]).findings.map(({ code }) => code);
  assert.ok(codes.indexOf("BOOT_RACE") < codes.indexOf("NOT_BOUND"), codes.join());
});

test("steps name the device that was found, so that they can be copied", () => {
  const built = complete();
  breakWith("FLR_BROKEN", built);
  const found = examine(built).findings.find(({ code }) => code === "FLR_BROKEN");
  assert.deepEqual(found?.fix, [`viaduct reset ${GPU} --method bus --keep`]);
  assert.deepEqual(found?.undo, [`echo default > /sys/bus/pci/devices/${GPU}/reset_method`]);
});

test("a check that could not be made is unchecked, never clear", () => {
  const built = complete().remove("/dmesg").denied("/proc/iomem").denied("/proc/77/fd");
  const { results } = examine(built);
  const states = Object.fromEntries(results.map(({ entry, state }) => [entry.code, state]));
  for (const code of ["FLR_BROKEN", "IOMMU_FAULT", "BAR_RESERVED_BY_FB", "GROUP_BUSY"]) {
    assert.equal(states[code], "unchecked", code);
  }
  assert.equal(states["ACS_OVERRIDE"], "clear");
});

test("what could be there but may not be read is unchecked, for every check that reads it", () => {
  const built = complete().denied("/proc/cmdline").denied("/etc/modprobe.d");
  built.denied(`${built.folderOf(GPU)}/config`).denied(`${built.folderOf(GPU)}/resource`);
  const { results } = examine(built);
  const of = (code: string) => results.find(({ entry }) => entry.code === code);
  for (const code of ["ACS_OVERRIDE", "BOOT_RACE", "CONFIG_ALL_FF", "BAR_NO_SPACE"]) {
    assert.equal(of(code)?.state, "unchecked", code);
    assert.match(of(code)?.reason ?? "", /could not be read/, code);
  }
});

test("false alarms are named, and are no findings", () => {
  const noted = (built: BuiltHost, code: string) => {
    const { results, findings } = examine(built, [GPU]);
    assert.deepEqual(
      findings.filter((finding) => finding.code === code && !finding.isHarmless),
      [],
    );
    return results.find(({ entry }) => entry.code === code)?.note ?? "";
  };
  const bridge = complete();
  bridge.link(`${bridge.folderOf("0000:00:01.0")}/iommu_group`, "../../../kernel/iommu_groups/14");
  assert.match(noted(bridge, "GROUP_NOT_VIABLE"), /0000:00:01\.0 on pcieport .*harmless/);
  assert.deepEqual(examine(bridge, [GPU]).findings, []);
  const relaxed = complete();
  relaxed.file("/sys/kernel/iommu_groups/14/reserved_regions", "0x0 0xfff direct-relaxable\n");
  assert.match(noted(relaxed, "RMRR_DEVICE"), /direct-relaxable/);
  const shared = complete();
  for (const address of [GPU, GPU_AUDIO]) {
    shared.file(`${shared.folderOf(address)}/reset_method`, "");
    shared.remove(`${shared.folderOf(address)}/reset`);
  }
  assert.match(noted(shared, "NO_RESET"), /VFIO resets its bus: harmless/);
  const placed = complete();
  breakWith("BAR_NO_SPACE", placed);
  placed.file(
    `${placed.folderOf(GPU)}/resource`,
    `${"0x0 0x0 0x0\n"}0x0000000080000000 0x00000000bfffffff 0x000000000014220c\n`,
  );
  assert.match(noted(placed, "BAR_NO_SPACE"), /BAR 1 of 0000:01:00\.0 has an address by now/);
});

test("a limit of mappings is an error only where it stops every guest", () => {
  const limit = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit";
  const severities = ["0\n", "10\n"].map((text) => {
    const { findings } = examine(healthyHost().file(limit, text));
    return findings.find(({ code }) => code === "DMA_ENTRY_LIMIT")?.severity;
  });
  assert.deepEqual(severities, ["error", "warning"]);
});

test("a disk of an NVMe subsystem with several controllers is the host's own too", () => {
  const built = complete();
  const disk = built.folderOf(DISK);
  built
    .link(
      "/sys/class/block/nvme0n1p2",
      "../../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/nvme0n1p2",
    )
    .link("/sys/class/nvme-subsystem/nvme-subsys0/nvme0", `../../..${disk.slice(4)}/nvme/nvme0`);
  const { findings } = examine(built, [DISK]);
  assert.match(
    findings.find(({ code }) => code === "HOST_CRITICAL")?.detail ?? "",
    /mounted at \//,
  );
});

test("a member of the group that is no PCI function blocks it", () => {
  const built = complete();
  built.link("/sys/kernel/iommu_groups/14/devices/AMDI0020:00/driver", "/sys/bus/acpi/drivers/x");
  const found = examine(built, [GPU]).findings.find(({ code }) => code === "GROUP_NOT_VIABLE");
  assert.match(found?.detail ?? "", /AMDI0020:00 \(x\)/);
});

test("a log of binary garbage and an empty host are no error", () => {
  const noise = String.fromCharCode(...Array.from({ length: 5000 }, (_, i) => (i * 7919) % 65536));
  const host = Host.scan(healthyHost().remove("/sys").remove("/proc").tree());
  const { results } = diagnose({ host, log: logOf(noise), asked: [] });
  assert.equal(results.length, CATALOGUE.length);
});
