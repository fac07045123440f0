/** A bundle gives the same diagnosis elsewhere, hides what it should, and may be damaged. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { packBundle, unpackBundle } from "../../../src/host/bundle.ts";
import { capture, redact, redactText } from "../../../src/host/capture.ts";
import { diagnose } from "../../../src/host/diagnose.ts";
import { Host } from "../../../src/host/host.ts";
import { readKernelLog } from "../../../src/host/kernel-log.ts";
import { HostTree } from "../../../src/host/tree.ts";
import { MemorySource } from "../../../src/host/tree-source.ts";
import { ViaductError } from "../../../src/sys/sys-error.ts";
import { BROKEN } from "./broken-hosts.ts";
import { GPU, healthyHost, NIC } from "./built-host.ts";

function codesOf(tree: HostTree, asked: readonly string[]): string[] {
  const host = Host.scan(tree);
  const devices = asked.map((address) => host.device(address)!);
  const log = readKernelLog(tree);
  const { findings } = diagnose({ host, log, asked: devices, guestMemory: undefined });
  return findings.map(({ code, device }) => `${code} ${device ?? ""}`);
}

test("a bundle, packed and unpacked, gives the diagnosis of the host itself", () => {
  for (const { code, breakIt, asked = [] } of BROKEN) {
    const built = healthyHost();
    breakIt(built);
    const tree = built.tree();
    const packed = packBundle(capture(Host.scan(tree), readKernelLog(tree)));
    const read = new HostTree(new MemorySource(unpackBundle("test.tgz", packed)));
    assert.deepEqual(codesOf(read, asked), codesOf(tree, asked), code);
  }
});

test("redact hides addresses, UUIDs and serial numbers, and keeps PCI addresses", () => {
  const text = redactText(
    "eth0 52:54:00:12:34:56 at 192.168.1.20, serial: S3X9NB0K uuid " +
      "123e4567-e89b-12d3-a456-426614174000 device 0000:01:00.0 kernel 6.12.1",
  );
  assert.equal(
    text,
    `eth0 xx:xx:xx:xx:xx:xx at (ip), serial: (hidden) uuid (uuid) device 0000:01:00.0 kernel 6.12.1`,
  );
  const config = new Uint8Array(4096);
  config.set([3, 0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8], 0x100);
  const built = healthyHost().file(`${healthyHost().folderOf(NIC)}/config`, config);
  const tree = built.tree();
  const hidden = redact(capture(Host.scan(tree), readKernelLog(tree)));
  const entry = hidden.get(`${built.folderOf(NIC)}/config`);
  assert.ok(entry?.kind === "file");
  assert.deepEqual([...entry.bytes.subarray(0x100, 0x10c)], [3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
});

test("a damaged bundle is refused with a reason, and nothing else is thrown", () => {
  const tree = healthyHost().tree();
  const whole = packBundle(capture(Host.scan(tree), readKernelLog(tree)));
  for (const part of [0, 1, 10, 100, whole.length - 1]) {
    assert.throws(() => unpackBundle("cut.tgz", whole.subarray(0, part)), { code: "USAGE" });
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000 }), (bytes) => {
      try {
        unpackBundle("noise", bytes);
      } catch (error) {
        assert.ok(error instanceof ViaductError);
      }
    }),
  );
});

test("a bundle's names stay inside the tree", () => {
  const entries = new Map([
    ["/../../etc/passwd", { kind: "file" as const, bytes: new Uint8Array() }],
  ]);
  assert.deepEqual([...unpackBundle("up.tgz", packBundle(entries)).keys()], ["/etc/passwd"]);
});

test("the capture of a device holds what list and doctor read", () => {
  const tree = healthyHost().tree();
  const captured = new HostTree(new MemorySource(capture(Host.scan(tree), readKernelLog(tree))));
  const device = Host.scan(captured).device(GPU)!;
  assert.deepEqual(
    [device.vendor, device.driver, device.override, device.group, device.resetMethods],
    [0x10de, "vfio-pci", "vfio-pci", 14, ["flr", "bus"]],
  );
});
