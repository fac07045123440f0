/**
 * What a host, a bundle or a log can do to the tools: bytes that nobody would write, links that
 * loop, files that may not be read, devices that vanish between two reads. The answer is a SKIP or
 * an error with a reason, never an exception of another kind.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { deviceJson, groupJson } from "../../../src/cli/host-view.ts";
import { packBundle, unpackBundle } from "../../../src/host/bundle.ts";
import { capture, redact } from "../../../src/host/capture.ts";
import { usesOf } from "../../../src/host/criticality.ts";
import { diagnose } from "../../../src/host/diagnose.ts";
import { CATALOGUE } from "../../../src/host/findings/catalogue.ts";
import { Host } from "../../../src/host/host.ts";
import { logOf, readKernelLog } from "../../../src/host/kernel-log.ts";
import { vfioOpeners } from "../../../src/host/openers.ts";
import { romImages } from "../../../src/host/option-rom.ts";
import { PciIds } from "../../../src/host/pci-ids.ts";
import { HostTree } from "../../../src/host/tree.ts";
import { MemorySource, type TreeSource } from "../../../src/host/tree-source.ts";
import { configText, decodeConfig } from "../../../src/pci/decode.ts";
import { ViaductError } from "../../../src/sys/sys-error.ts";
import { BROKEN } from "./broken-hosts.ts";
import { GPU, healthyHost, NIC } from "./built-host.ts";

const IDS = new PciIds("");

/** Everything that the verbs read of a host. */
function readAll(tree: HostTree): void {
  const host = Host.scan(tree);
  const openers = vfioOpeners(tree);
  for (const device of host.devices) {
    deviceJson(device, IDS, openers);
    usesOf(host, device);
    const bytes = device.config.value;
    if (bytes !== undefined) configText(decodeConfig(bytes));
  }
  for (const group of host.groups.values()) groupJson(group);
  const log = readKernelLog(tree);
  const { results } = diagnose({ host, log, asked: host.devices, guestMemory: 1n << 33n });
  assert.equal(results.length, CATALOGUE.length);
  redact(capture(host, log));
}

/** A host with a bit of everything that can be wrong. */
function muchBroken() {
  const built = healthyHost();
  for (const { breakIt } of BROKEN) {
    try {
      breakIt(built);
    } catch {
      // What an earlier one took away cannot be broken again.
    }
  }
  return built;
}

test("any file of a host may hold anything", () => {
  const paths = [...muchBroken().files.keys()];
  const noise = fc.oneof(
    fc.uint8Array({ maxLength: 400 }),
    fc.string({ maxLength: 200, unit: "binary" }),
    fc.constantFrom("-1", "99999999999999999999", "0x", "\n\n\n", "(null)", "a:b:c.d", "= = ="),
  );
  const changes = fc.array(fc.tuple(fc.constantFrom(...paths), noise), { maxLength: 12 });
  fc.assert(
    fc.property(changes, (all) => {
      const built = muchBroken();
      for (const [path, content] of all) built.file(path, content);
      readAll(built.tree());
    }),
    { numRuns: 40 },
  );
});

test("any link may lead anywhere, also back to itself", () => {
  const links = [...muchBroken().files].filter(([, entry]) => entry.kind === "link");
  const paths = links.map(([path]) => path);
  const target = fc.oneof(
    fc.constantFrom(...paths, ".", "..", "/", "/nowhere", "../../../../../../.."),
    fc.string({ maxLength: 30 }),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom(...paths), target), { maxLength: 8 }), (all) => {
      const built = muchBroken();
      for (const [path, to] of all) built.link(path, to);
      readAll(built.tree());
    }),
    { numRuns: 40 },
  );
});

/** Answers as `inner` does, until the n-th call: from then on with an errno. */
function failingFrom(inner: TreeSource, calls: number, code: string): TreeSource {
  let left = calls;
  return new Proxy(inner, {
    get(target, key) {
      const member: unknown = Reflect.get(target, key, target);
      if (typeof member !== "function") return member;
      return (...args: unknown[]) => {
        const isOver = left-- <= 0;
        if (isOver && key === "exists") return false;
        if (isOver) throw Object.assign(new Error(code), { code });
        return (member as (...args: unknown[]) => unknown).apply(target, args);
      };
    },
  });
}

test("everything may vanish, or become unreadable, between any two reads", () => {
  const { files } = muchBroken();
  for (const code of ["ENOENT", "ENODEV", "EACCES", "EIO"]) {
    for (let calls = 0; calls < 700; calls += 13) {
      readAll(new HostTree(failingFrom(new MemorySource(files), calls, code)));
    }
  }
});

test("a bundle that was cut or changed anywhere is refused, or read without an error", () => {
  const built = muchBroken();
  const tree = built.tree();
  const packed = packBundle(capture(Host.scan(tree), readKernelLog(tree)));
  const plain = gunzipSync(packed);
  const edit = fc.tuple(fc.nat(plain.length - 1), fc.nat(255));
  const edits = fc.tuple(fc.array(edit, { maxLength: 6 }), fc.option(fc.nat(plain.length)));
  fc.assert(
    fc.property(edits, ([changes, end]) => {
      const bytes = Uint8Array.from(plain.subarray(0, end ?? plain.length));
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      try {
        readAll(new HostTree(new MemorySource(unpackBundle("changed.tar", bytes))));
      } catch (error) {
        assert.ok(error instanceof ViaductError && error.code === "USAGE", String(error));
      }
    }),
    { numRuns: 60 },
  );
});

test("a log may hold anything", () => {
  const host = Host.scan(healthyHost().tree());
  const line = fc.oneof(
    fc.string({ maxLength: 200, unit: "binary" }),
    fc.constantFrom(
      "BAR 99: can't assign; no space",
      "qemu version: 99999999.0 vfio-pci",
      "[ffff:ff:ff.7] AMD-Vi: Event logged [IO_PAGE_FAULT",
      "not ready ms after FLR",
    ),
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 30 }), (lines) => {
      const log = logOf(lines.join("\n"));
      assert.equal(diagnose({ host, log, asked: [] }).results.length, CATALOGUE.length);
    }),
    { numRuns: 100 },
  );
});

test("romImages takes any bytes, and never more images than fit", () => {
  const image = fc.uint8Array({ maxLength: 600 }).map((bytes) => {
    if (bytes.length > 0x1c) bytes.set([0x55, 0xaa]);
    return bytes;
  });
  fc.assert(fc.property(image, (bytes) => assert.ok(romImages(bytes).length <= 64)));
});

const bin = resolve(import.meta.dirname, "../../../../bin/viaduct.js");

function viaduct(...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], {
    encoding: "utf8",
  });
  assert.doesNotMatch(stderr, /\n\s+at .*:\d+:\d+/, "a stack trace");
  return { status, stdout, stderr };
}

test("a folder of looping links, folders for files and garbage is a host that says little", () => {
  const root = mkdtempSync(join(tmpdir(), "viaduct-bad-"));
  try {
    const put = (path: string, content: string | Uint8Array) => {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), content);
    };
    mkdirSync(join(root, "sys/bus/pci/devices"), { recursive: true });
    const devices = join(root, "sys/bus/pci/devices");
    symlinkSync("0000:00:02.0", join(devices, "0000:00:01.0"));
    symlinkSync("0000:00:01.0", join(devices, "0000:00:02.0"));
    mkdirSync(join(devices, "0000:00:03.0/uevent"), { recursive: true });
    mkdirSync(join(devices, "0000:00:03.0/config"));
    symlinkSync("/", join(devices, "0000:00:04.0"));
    put(
      "proc/cmdline",
      new Uint8Array(5000).map((_, at) => (at * 7919) & 0xff),
    );
    mkdirSync(join(root, "proc/mounts"));
    for (const verb of ["list", "groups", "doctor", "report"]) {
      const args = verb === "report" ? ["--markdown"] : [];
      const { status, stdout, stderr } = viaduct(verb, "--root", root, ...args);
      assert.ok([0, 1, 5].includes(status ?? -1), `${verb}: ${status} ${stderr}`);
      if (verb === "doctor") assert.match(stdout, /SKIP {2}\w+: could not check: .*could not be/);
    }
    const show = viaduct("show", "00:03.0", "--root", root);
    assert.match(show.stdout, /Configuration space: could not be read/);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});

test("what is unknown or ambiguous is named, with what would do", () => {
  const folder = mkdtempSync(join(tmpdir(), "viaduct-bad-"));
  try {
    const bundle = join(folder, "host.tgz");
    writeFileSync(bundle, packBundle(healthyHost().files));
    const both = viaduct("reset", "01:00", "--dry-run", "--root", bundle);
    assert.equal(both.status, 2);
    assert.match(both.stderr, /names 2 functions[\s\S]*Write one of: 0000:01:00\.0, 0000:01:00\.1/);
    const near = viaduct("show", "01:00.7", "--root", bundle);
    assert.equal(near.status, 4);
    assert.match(near.stderr, new RegExp(`Near it: ${GPU}`));
    const name = viaduct("show", "eth9", "--root", bundle);
    assert.match(name.stderr, /neither a PCI address nor the name of a PCI device's interface/);
    assert.equal(viaduct("show", "eth0", "--root", bundle).stdout.startsWith(NIC), true);
    writeFileSync(bundle, packBundle(healthyHost().files).subarray(0, 500));
    const cut = viaduct("doctor", "--root", bundle);
    assert.equal(cut.status, 2);
    assert.match(cut.stderr, /not a readable bundle[\s\S]*next: Ask for it again/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
