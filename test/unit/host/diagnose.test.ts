/** Each code of the catalogue is found on a host that has the problem, and not on a healthy one. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { diagnose } from "../../../src/host/diagnose.ts";
import { CATALOGUE } from "../../../src/host/findings/catalogue.ts";
import { Host } from "../../../src/host/host.ts";
import { logOf, readKernelLog } from "../../../src/host/kernel-log.ts";
import { BROKEN } from "./broken-hosts.ts";
import { type BuiltHost, GPU, healthyHost } from "./built-host.ts";

function examine(built: BuiltHost, asked: readonly string[] = []) {
  const tree = built.tree();
  const host = Host.scan(tree);
  return diagnose({
    host,
    log: readKernelLog(tree),
    asked: asked.map((address) => host.device(address)!),
    guestMemory: undefined,
  });
}

/** A healthy host that answers every check, with the files that only some checks ask for. */
const complete = () =>
  healthyHost()
    .file("/lib/modules/6.12.1-amd64/modules.builtin", "")
    .file("/lib/modules/6.12.1-amd64/modules.alias", "");

for (const { code, breakIt, asked } of BROKEN) {
  test(`doctor finds ${code} on the broken host and not on the healthy one`, () => {
    const broken = complete();
    breakIt(broken);
    const found = examine(broken, asked).findings.filter((finding) => finding.code === code);
    assert.ok(found.length > 0, "not found on the broken host");
    for (const { evidence, detail } of found) {
      assert.ok(evidence.length > 0 && detail !== "", "without evidence");
    }
    const healthyAsked = code === "HOST_CRITICAL" ? [GPU] : asked;
    const healthy = examine(complete(), healthyAsked).results.find(
      (result) => result.entry.code === code,
    );
    assert.equal(healthy?.state, "clear", healthy?.reason);
  });
}

test("every check of the catalogue has a broken host", () => {
  const tested = new Set(BROKEN.map(({ code }) => code));
  const missing = CATALOGUE.filter(({ check, code }) => check !== undefined && !tested.has(code));
  assert.deepEqual(
    missing.map(({ code }) => code),
    [],
  );
  assert.deepEqual(
    CATALOGUE.map(({ number }) => number),
    Array.from({ length: 56 }, (_, i) => i + 1),
  );
});

test("a host without problems has nothing to fix first", () => {
  const { first, findings } = examine(complete());
  assert.deepEqual(findings, []);
  assert.equal(first, undefined);
});

test("the cause is told before what it causes", () => {
  const built = complete();
  const off = BROKEN.find(({ code }) => code === "IOMMU_KERNEL_OFF")!;
  off.breakIt(built);
  built.remove("/dev/iommu").remove("/dev/vfio").remove("/sys/module/vfio");
  const { first, findings } = examine(built);
  assert.equal(first?.code, "IOMMU_KERNEL_OFF");
  assert.ok(findings.some(({ code }) => code === "VFIO_MISSING"));
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

test("a bridge on pcieport in the group is harmless", () => {
  const built = complete();
  built.link(`${built.folderOf("0000:00:01.0")}/iommu_group`, "../../../kernel/iommu_groups/14");
  assert.deepEqual(examine(built, [GPU]).findings, []);
});

test("a log of binary garbage and an empty host are no error", () => {
  const noise = String.fromCharCode(...Array.from({ length: 5000 }, (_, i) => (i * 7919) % 65536));
  const host = Host.scan(healthyHost().remove("/sys").remove("/proc").tree());
  const { results } = diagnose({ host, log: logOf(noise), asked: [], guestMemory: undefined });
  assert.equal(results.length, CATALOGUE.length);
});
