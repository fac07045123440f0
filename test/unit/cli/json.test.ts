/** Every verb's JSON is what schema/viaduct.schema.json says, and errors are JSON too. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { VERBS } from "../../../src/cli/verbs.ts";
import { packBundle } from "../../../src/host/bundle.ts";
import { BROKEN } from "../host/broken-hosts.ts";
import { GPU, healthyHost, NIC } from "../host/built-host.ts";
import { validator } from "./json-schema.ts";

const root = resolve(import.meta.dirname, "../../../..");
const faultsOf = validator(root);

let folder = "";
let bundle = "";

before(() => {
  folder = mkdtempSync(join(tmpdir(), "viaduct-json-"));
  bundle = join(folder, "host.tgz");
  const built = healthyHost();
  for (const { code, breakIt } of BROKEN) {
    if (["GROUP_NOT_VIABLE", "IOMMU_FAULT", "BAR_NO_MMAP"].includes(code)) breakIt(built);
  }
  built
    .file(`${built.folderOf(NIC)}/sriov_totalvfs`, "7")
    .file(`${built.folderOf(NIC)}/sriov_numvfs`, "0");
  writeFileSync(bundle, packBundle(built.files));
});

after(() => rmSync(folder, { recursive: true, force: true }));

function viaduct(...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(root, "bin/viaduct.js"), ...args],
    { encoding: "utf8", env: { ...process.env, VIADUCT_JOURNAL: join(folder, "journal") } },
  );
  return { status, stdout, stderr };
}

const CALLS: ReadonlyArray<readonly [status: number, ...args: string[]]> = [
  [0, "list"],
  [0, "groups"],
  [0, "show", GPU],
  [1, "doctor"],
  [0, "doctor", "--fail-on", "never", GPU],
  [0, "explain", "NO_RESET"],
  [0, "explain", "group 3 is not viable"],
  [0, "bind", "01:00", "--dry-run", "--group"],
  [0, "restore", GPU, "--dry-run"],
  [0, "overrides"],
  [0, "overrides", "rm", GPU, "--dry-run"],
  [0, "report", "-o", "/dev/null"],
  [0, "report", "--markdown", "--redact"],
  [0, "completion", "fish"],
  [0, "help"],
  [0, "help", "run"],
  [0, "reset", GPU, "--dry-run", "--method", "flr"],
  [0, "sriov", NIC],
  [0, "sriov", NIC, "--num", "2", "--dry-run"],
];

/** Verbs that look at no host. */
const HOSTLESS = new Set(["explain", "completion", "help"]);

test("every verb's JSON is checked; run's are events, one a line", () => {
  const called = new Set(CALLS.map(([, verb]) => verb));
  assert.deepEqual(
    Object.keys(VERBS).filter((name) => !called.has(name)),
    ["run"],
  );
});

for (const [expected, ...args] of CALLS) {
  test(`viaduct ${args.join(" ")} --json is as the schema says`, () => {
    const tree = HOSTLESS.has(args[0]!) ? [] : ["--root", bundle];
    const { status, stdout, stderr } = viaduct(...args, ...tree, "--json");
    assert.equal(stderr, "");
    assert.deepEqual(faultsOf(JSON.parse(stdout)), []);
    assert.equal(status, expected);
  });
}

test("errors are JSON too, and end with the documented status", () => {
  const cases: ReadonlyArray<readonly [number, ...string[]]> = [
    [2, "list", "--wrong"],
    [2, "show"],
    [2, "sho"],
    [2, "bind", GPU, "--persist", "--nosave", "--dry-run", "--root", bundle],
    [2, "doctor", "--fail-on", "sometimes", "--root", bundle],
    [4, "doctor", "--log", "/nowhere", "--root", bundle],
    [2, "run"],
    [4, "show", "0000:77:00.0", "--root", bundle],
    [4, "list", "--group", "999", "--root", bundle],
    [4, "doctor", "--root", "/nowhere"],
    [1, "bind", NIC, "--dry-run", "--root", bundle],
    [2, "bind", GPU, "--root", bundle],
    [4, "explain", "nothing that anybody ever printed"],
  ];
  for (const [expected, ...args] of cases) {
    const { status, stdout, stderr } = viaduct(...args, "--json");
    assert.equal(status, expected, `${args.join(" ")}: ${stderr}`);
    assert.equal(stdout, "");
    assert.deepEqual(faultsOf(JSON.parse(stderr)), [], args.join(" "));
  }
});

test("no verb prints colour into a pipe, or a stack trace for garbage", () => {
  const noise = join(folder, "noise.tgz");
  writeFileSync(
    noise,
    new Uint8Array(2000).map((_, at) => (at * 7919) & 0xff),
  );
  for (const args of [
    ["doctor", "--root", bundle],
    ["doctor", "--root", noise],
  ]) {
    const { stdout, stderr } = viaduct(...args);
    assert.ok(!`${stdout}${stderr}`.includes("\u001b["));
    assert.ok(!/\n\s+at .*:\d+:\d+/.test(stderr), stderr);
  }
});

test("a pipe that closes early is no error", () => {
  const line = `"${process.execPath}" "${join(root, "bin/viaduct.js")}" show 01:00 -x --root "$1"`;
  const { stderr, status } = spawnSync(
    "bash",
    ["-c", `${line} | true; exit "\${PIPESTATUS[0]}"`, "-", bundle],
    { encoding: "utf8" },
  );
  assert.equal(stderr, "");
  assert.equal(status, 0);
});

test("explain - reads what was piped into it, whatever it is", () => {
  const explain = (input: string | Uint8Array) =>
    spawnSync(process.execPath, [join(root, "bin/viaduct.js"), "explain", "-", "--json"], {
      encoding: "utf8",
      input,
    });
  const failed = "vfio-pci 0000:02:00.0: not ready 1023ms after FLR; giving up";
  const log = `[1.0] usb 1-1: new device\n[2.0] ${failed}\n`;
  const { stdout, status } = explain(log);
  assert.deepEqual(faultsOf(JSON.parse(stdout)), []);
  assert.match(stdout, /"FLR_BROKEN"/);
  assert.equal(status, 0);
  const noise = explain(Uint8Array.from({ length: 70_000 }, (_, at) => (at * 7919) >> 3));
  assert.equal(noise.status, 4, noise.stderr);
  assert.deepEqual(faultsOf(JSON.parse(noise.stderr)), []);
});
