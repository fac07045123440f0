/** Trace events: that they are QEMU's, that all of them happen, and when. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import { msixTestSpec } from "../../../src/sim/devices/msix.ts";
import { type TraceKind, tracePoints } from "../../../src/sys/trace.ts";
import { TraceRecorder } from "../trace-recorder.ts";
import { BDF, TestMachine } from "./machine.ts";

const root = resolve(import.meta.dirname, "../../../..");
const read = (path: string) => readFileSync(join(root, path), "utf8");
const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"))
  .map((name) => join("src", name));
const traceModules = sources.filter(
  (name) => name.endsWith("/trace.ts") && name !== "src/sys/trace.ts",
);

interface Listed {
  readonly event: string;
  /** `name:type`. */
  readonly args: readonly string[];
  readonly built: boolean;
}

const listed: Listed[] = [];
{
  let built = true;
  for (const line of read("test/unit/fixtures/trace-events.txt").split("\n")) {
    if (line.startsWith("[")) built = !line.startsWith("[(");
    const [event = "", ...args] = line.split(" ");
    if (/^\w+$/.test(event)) listed.push({ event, args, built });
  }
}

/** How QEMU's types may be printed. */
const KINDS: Readonly<Record<string, readonly TraceKind[]>> = {
  str: ["str"],
  char: ["str"],
  bool: ["bool"],
  int: ["int", "hex"],
  uint: ["int", "hex"],
  u8: ["hex"],
  u16: ["hex"],
  u32: ["hex"],
  u64: ["hex", "int"],
  ulong: ["hex"],
  ptr: ["hex"],
  uptr: ["hex"],
};

test("spec C1: the trace points are QEMU's events, with the same arguments in order", () => {
  const declared = tracePoints().map(({ event, shape }) =>
    [event, ...Object.keys(shape)].join(" "),
  );
  const expected = listed
    .filter(({ built }) => built)
    .map(({ event, args }) => [event, ...args.map((arg) => arg.split(":")[0])].join(" "));
  assert.deepEqual(declared, expected.sort());
  for (const { event, shape } of tracePoints()) {
    const { args } = listed.find((entry) => entry.event === event)!;
    for (const arg of args) {
      const [name = "", type = ""] = arg.split(":");
      assert.ok(KINDS[type]?.includes(shape[name]!), `${event} ${arg}`);
    }
  }
});

test("spec C1: the events of parts that are not built are not declared", () => {
  const names = new Set(tracePoints().map(({ event }) => event));
  const wrong = listed.filter(({ event, built }) => !built && names.has(event));
  assert.deepEqual(wrong, []);
});

test("every trace point is emitted somewhere", () => {
  const code = sources.filter((name) => !traceModules.includes(name)).map(read);
  const silent = tracePoints().filter(
    ({ event }) => !code.some((text) => new RegExp(`\\btrace\\.${event}\\b`).test(text)),
  );
  assert.deepEqual(
    silent.map(({ event }) => event),
    [],
  );
});

test("every module with trace points is one that --trace knows", () => {
  const imported = read("src/cli/run-trace.ts");
  const missing = traceModules.filter((name) => !imported.includes(name.replace("src/", '"../')));
  assert.deepEqual(missing, []);
});

const PLAIN = { spec: msixTestSpec(BDF), group: 7 };

test("trace events of a device's start and end, in order", () => {
  using machine = new TestMachine({ devices: [PLAIN] });
  const names =
    /realize|mdev|device$|device_config$|region_(setup|mmap$|unmap|exit|fin)|put_|container/;
  using recorder = new TraceRecorder(names);
  const fn = machine.assign();
  const setUp = (bar: number, rest: string) =>
    `vfio_region_setup ${BDF} ${bar} ${BDF} BAR ${bar} ${rest}`;
  assert.deepEqual(recorder.take(), [
    `vfio_mdev ${BDF} false`,
    `vfio_realize ${BDF} 7`,
    `vfio_get_device ${BDF} 0x3 9 5`,
    setUp(0, "0x3 0x0 0x1000"),
    setUp(1, "0x0 0x10000000000 0x0"),
    setUp(2, "0x7 0x20000000000 0x10000"),
    setUp(3, "0x0 0x30000000000 0x0"),
    setUp(4, "0xf 0x40000000000 0x4000"),
    setUp(5, "0x0 0x50000000000 0x0"),
    `vfio_populate_device_config ${BDF} 0x1000 0x70000000000 0x3`,
    `vfio_region_mmap ${BDF} BAR 2 mmap 0 0x0 0xffff`,
    `vfio_region_mmap ${BDF} BAR 4 mmap 0 0x0 0x3fff`,
  ]);
  const { fd } = fn.device;
  fn[Symbol.dispose]();
  fn[Symbol.dispose]();
  const end = recorder.take();
  assert.deepEqual(end.slice(0, -3), [
    `vfio_region_exit ${BDF} 0`,
    `vfio_region_finalize ${BDF} 0`,
    `vfio_region_exit ${BDF} 2`,
    `vfio_region_unmap ${BDF} BAR 2 mmap 0 0x0 0xffff`,
    `vfio_region_finalize ${BDF} 2`,
    `vfio_region_exit ${BDF} 4`,
    `vfio_region_unmap ${BDF} BAR 4 mmap 0 0x0 0x3fff`,
    `vfio_region_finalize ${BDF} 4`,
  ]);
  assert.equal(end.at(-3), `vfio_put_base_device ${fd}`);
  assert.match(end.at(-2)!, /^vfio_disconnect_container \d+$/);
  assert.match(end.at(-1)!, /^vfio_put_group \d+$/);
});

test("trace events of a guest's accesses have address, width and value", () => {
  using machine = new TestMachine({ devices: [PLAIN] });
  using fn = machine.assign({ "x-no-mmap": "on" });
  fn.writeConfig(0x10, 4, 0xe000_0000);
  fn.writeConfig(0x18, 4, 0xe001_0000);
  using recorder = new TraceRecorder(/region_(read|write)$|_config$/);
  fn.writeConfig(0x04, 2, 2);
  assert.equal(fn.readConfig(0x00, 4), 0x10f0_1b36);
  machine.memory.write(0xe000_0000n, 4, 0x1234_5678n);
  machine.memory.read(0xe000_0000n, 2);
  machine.memory.write(0xe001_0008n, 8, 0x1_0000_0002n);
  machine.memory.read(0xe001_0008n, 8);
  assert.deepEqual(recorder.take(), [
    `vfio_pci_write_config ${BDF} 0x4 0x2 2`,
    `vfio_pci_read_config ${BDF} 0x0 4 0x10f01b36`,
    `vfio_region_write ${BDF} 0 0x0 0x12345678 4`,
    `vfio_region_read ${BDF} 0 0x0 2 0x5678`,
    `vfio_region_write ${BDF} 2 0x8 0x100000002 8`,
    `vfio_region_read ${BDF} 2 0x8 8 0x100000002`,
  ]);
});

test("trace events of interrupts: MSI-X over INTx and back, and a reset", () => {
  using machine = new TestMachine({ devices: [PLAIN] });
  using fn = machine.assign();
  const { offset } = fn.interrupts.msix!.capability;
  fn.writeConfig(0x20, 4, 0xe000_0000);
  fn.writeConfig(0x04, 2, 6);
  using recorder = new TraceRecorder(/intx|msi|pci_reset|hot_reset/);
  fn.writeConfig(offset + 2, 2, 0x8000);
  machine.memory.write(0xe000_101cn, 4, 0n);
  machine.memory.write(0xe000_101cn, 4, 1n);
  fn.writeConfig(offset + 2, 2, 0);
  assert.deepEqual(recorder.take(), [
    `vfio_msix_enable ${BDF}`,
    `vfio_msix_vector_do_use ${BDF} 1`,
    `vfio_msix_pba_disable ${BDF}`,
    `vfio_msix_vector_release ${BDF} 1`,
    `vfio_msix_vector_release ${BDF} 1`,
    `vfio_msix_disable ${BDF}`,
  ]);
  fn.reset();
  assert.deepEqual(recorder.take(), [`vfio_pci_reset ${BDF}`, `vfio_pci_reset_flr ${BDF}`]);
});

test("trace events of INTx: by KVM, on another line, and through this process", () => {
  using machine = new TestMachine({ devices: [{ spec: eduSpec(BDF), group: 7 }] });
  using recorder = new TraceRecorder(/intx/);
  using fast = machine.assign();
  machine.platform.reroute(() => ({ mode: "enabled", gsi: 11 }));
  assert.deepEqual(recorder.take(), [
    `vfio_intx_enable_kvm ${BDF}`,
    `vfio_intx_enable ${BDF}`,
    `vfio_intx_update ${BDF} 19 11`,
    `vfio_intx_disable_kvm ${BDF}`,
    `vfio_intx_enable_kvm ${BDF}`,
  ]);
  fast[Symbol.dispose]();
  using slow = machine.assign({ "x-no-kvm-intx": "on" });
  slow.writeConfig(0x10, 4, 0xe000_0000);
  slow.writeConfig(0x04, 2, 2);
  recorder.take();
  machine.device().irqs.setIntx(true);
  machine.loop.dispatch();
  machine.memory.read(0xe000_0000n, 4);
  assert.deepEqual(recorder.take(), [`vfio_intx_interrupt ${BDF} A`, `vfio_intx_eoi ${BDF}`]);
});

test("while config reads are traced, all of them come to the main thread", () => {
  using machine = new TestMachine({ devices: [PLAIN] });
  const { sharedConfig } = machine.root;
  {
    using fn = machine.assign();
    assert.equal(fn.config.memory.buffer, sharedConfig.buffer);
  }
  using _recorder = new TraceRecorder(/^vfio_pci_read_config$/);
  using fn = machine.assign();
  assert.notEqual(fn.config.memory.buffer, sharedConfig.buffer);
});
