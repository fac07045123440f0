import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { VFIO_PCI_ERR_IRQ_INDEX } from "../../../src/abi/vfio.ts";
import { COMMANDS } from "../../../src/machine/qmp/commands.ts";
import { GREETING, QmpSession } from "../../../src/machine/qmp/session.ts";
import { VERSION } from "../../../src/machine/qmp/version.ts";
import { EDU, MSIX } from "../hot-plug/hot-plug-machine.ts";
import { StillControlled } from "./controlled-machine.ts";
import { NpmClient } from "./npm-client.ts";
import { type Message, RawClient } from "./raw-client.ts";

const root = resolve(import.meta.dirname, "../../../..");

const errorOf = (message: Message): { class: string; desc: string } =>
  message["error"] as { class: string; desc: string };

test("QMP: a client from npm runs through a machine's day", async () => {
  await using machine = await StillControlled.start();
  // Without RESUME: the client passes on the socket's own event of that name too.
  const events = ["stop", "device_deleted", "powerdown", "reset", "shutdown"];
  using client = await NpmClient.connect(machine.path, events);
  assert.deepEqual(client.version, VERSION);
  const status = () => client.execute("query-status");
  assert.deepEqual(await status(), { running: true, status: "running" });
  await client.execute("stop");
  assert.deepEqual(await status(), { running: false, status: "paused" });
  await client.execute("cont");
  await client.execute("device_add", { driver: "vfio-pci", id: "dev", host: MSIX, bus: "rp0" });
  machine.hot.guest.serve();
  assert.equal(machine.hot.guest.id(), 0x10f0_1b36);
  await client.execute("device_del", { id: "dev" });
  machine.hot.guest.serve();
  await client.event("device_deleted");
  await client.execute("system_powerdown");
  assert.equal(machine.buttonPresses, 1);
  await client.execute("system_reset");
  await assert.rejects(client.execute("no-such-command"), /The command no-such-command has not/);
  await client.execute("quit");
  await client.event("shutdown");
  assert.deepEqual(client.seen, events);
  assert.deepEqual(await machine.life.ended, { reason: "host-quit" });
  const closed = client.closed();
  await machine.server[Symbol.asyncDispose]();
  await closed;
  assert.equal(existsSync(machine.path), false);
});

test("QMP: the greeting, then negotiation, then commands; ids are echoed", async () => {
  await using machine = await StillControlled.start();
  using client = await RawClient.connect(machine.path);
  assert.deepEqual(await client.next(), GREETING);
  const early = await client.ask({ execute: "query-status", id: 1 });
  assert.deepEqual(early, {
    error: {
      class: "CommandNotFound",
      desc: "Expecting capabilities negotiation with 'qmp_capabilities'",
    },
    id: 1,
  });
  const oob = { execute: "qmp_capabilities", arguments: { enable: ["oob"] } };
  assert.match(errorOf(await client.ask(oob)).desc, /'oob' is not offered/);
  const id = { any: ["JSON", null] };
  assert.deepEqual(await client.ask({ execute: "qmp_capabilities", id }), { return: {}, id });
  const again = errorOf(await client.ask({ execute: "qmp_capabilities" }));
  assert.deepEqual(again.class, "CommandNotFound");
  assert.deepEqual(await client.ask({ execute: "query-version", id: "v" }), {
    return: VERSION,
    id: "v",
  });
  const commands = (await client.ask({ execute: "query-commands" }))["return"];
  assert.deepEqual(
    commands,
    [...COMMANDS.keys()].map((name) => ({ name })),
  );
});

test("VERSION is package.json's", () => {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const { major, minor, micro } = VERSION.qemu;
  assert.equal(`${major}.${minor}.${micro}`, version);
});

const WRONG: ReadonlyArray<readonly [message: string, kind: string, desc: RegExp]> = [
  ["hello", "GenericError", /^JSON parse error, /],
  ['{"execute": }', "GenericError", /^JSON parse error, /],
  ["[1]", "GenericError", /^QMP input must be a JSON object$/],
  ["{}", "GenericError", /^QMP input lacks member 'execute'$/],
  ['{"execute":7}', "GenericError", /^QMP input member 'execute' must be a string$/],
  ['{"execute":"stop","arguments":[]}', "GenericError", /'arguments' must be an object$/],
  ['{"execute":"stop","extra":1}', "GenericError", /^QMP input member 'extra' is unexpected$/],
  ['{"exec-oob":"stop"}', "GenericError", /^QMP input member 'exec-oob' is unexpected$/],
  ['{"execute":"stop","arguments":{"a":1}}', "GenericError", /^Parameter 'a' is unexpected$/],
  ['{"execute":"nothing"}', "CommandNotFound", /^The command nothing has not been found$/],
  ['{"execute":"__proto__"}', "CommandNotFound", /has not been found$/],
  ['{"execute":"device_del"}', "GenericError", /^Parameter 'id' is missing$/],
  [
    '{"execute":"device_del","arguments":{"id":1}}',
    "GenericError",
    /^Invalid parameter type for 'id', expected: string$/,
  ],
  [
    '{"execute":"device_del","arguments":{"id":"nobody"}}',
    "DeviceNotFound",
    /^Device 'nobody' not found$/,
  ],
  ['{"execute":"device_add","arguments":{}}', "GenericError", /^Parameter 'driver' is missing$/],
  [
    '{"execute":"device_add","arguments":{"driver":"vfio-pci","id":"1"}}',
    "GenericError",
    /^Parameter 'id' expects an identifier$/,
  ],
  [
    '{"execute":"device_add","arguments":{"driver":"vfio-pci","host":{}}}',
    "GenericError",
    /^Invalid parameter type for 'host', expected: string$/,
  ],
  [
    '{"execute":"device_add","arguments":{"driver":"vfio-pci","bus":"rp0","x-no-mmapp":true}}',
    "GenericError",
    /Property 'vfio-pci\.x-no-mmapp' not found$/,
  ],
  [
    '{"execute":"device_add","arguments":{"driver":"vfio-pci","bus":"pcie.0","host":"1:0.0"}}',
    "GenericError",
    /^Bus 'pcie\.0' does not support hotplugging$/,
  ],
];

test("QMP: what is wrong is answered with QEMU's classes and words", async () => {
  await using machine = await StillControlled.start();
  using client = await RawClient.negotiated(machine.path);
  const before = machine.hot.held();
  for (const [message, kind, desc] of WRONG) {
    client.send(`${message}\n`);
    const answer = await client.next();
    assert.ok(answer, message);
    assert.equal(errorOf(answer).class, kind, message);
    assert.match(errorOf(answer).desc, desc);
  }
  assert.deepEqual(machine.hot.held(), before);
  assert.ok((await client.ask({ execute: "query-status" }))["return"]);
});

test("QMP: commands split into bytes, and many in one piece, are answered in order", async () => {
  await using machine = await StillControlled.start();
  using client = await RawClient.negotiated(machine.path);
  client.socket.setNoDelay(true);
  for (const byte of Buffer.from('{"execute":"query-name","id":"ä"}\n')) {
    client.socket.write(Buffer.of(byte));
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(await client.next(), { return: {}, id: "ä" });
  const count = 500;
  const ids = Array.from({ length: count }, (_, id) => id);
  client.send(ids.map((id) => JSON.stringify({ execute: "query-name", id })).join(""));
  for (const id of ids) assert.deepEqual(await client.next(), { return: {}, id });
});

test("QMP: an overlong command is refused once, and the next one is done", async () => {
  await using machine = await StillControlled.start();
  using client = await RawClient.negotiated(machine.path);
  client.send(`{"execute":"${"x".repeat(5_000_000)}"}\n`);
  assert.match(errorOf((await client.next())!).desc, /more than 262144 characters/);
  assert.deepEqual(await client.ask({ execute: "query-name", id: 2 }), { return: {}, id: 2 });
});

test("QMP: clients come one after the other, and several at once see the same events", async () => {
  await using machine = await StillControlled.start();
  for (let i = 0; i < 20; i++) {
    using client = await RawClient.negotiated(machine.path);
    assert.ok(await client.ask({ execute: "query-status" }));
  }
  using silent = await RawClient.connect(machine.path);
  using first = await RawClient.negotiated(machine.path);
  using second = await RawClient.negotiated(machine.path);
  await first.ask({ execute: "stop" });
  assert.equal((await second.next())!["event"], "STOP");
  assert.deepEqual(await silent.next(), GREETING);
  silent.send('{"execute":"qmp_capabilities"}\n');
  assert.deepEqual(await silent.next(), { return: {} }, "no event before it has negotiated");
});

test("QMP: a client that reads nothing is let go, and the others are served", async () => {
  await using machine = await StillControlled.start();
  using deaf = await RawClient.negotiated(machine.path);
  deaf.socket.pause();
  const gone = new Promise<void>((done) => deaf.socket.once("close", () => done()));
  for (let i = 0; i < 50_000; i++) machine.server.tell({ type: "powerdown" });
  using client = await RawClient.negotiated(machine.path);
  assert.ok((await client.ask({ execute: "query-status" }))["return"]);
  deaf.socket.resume();
  await gone;
});

test("QMP: events have QEMU's names, data and a time", async () => {
  await using machine = await StillControlled.start();
  using client = await RawClient.negotiated(machine.path);
  const { guest } = machine.hot;
  const expectEvent = async (event: string, data?: unknown) => {
    const message = (await client.next())!;
    assert.deepEqual([message["event"], message["data"]], [event, data]);
    const { seconds, microseconds } = message["timestamp"] as Record<string, number>;
    assert.ok(Math.abs(seconds! * 1000 - Date.now()) < 600_000);
    assert.ok(microseconds! >= 0 && microseconds! < 1_000_000);
  };
  const device = { driver: "vfio-pci", id: "edu", host: EDU, bus: "rp0", addr: 0 };
  await client.ask({ execute: "device_add", arguments: device });
  guest.serve();
  guest.temper = "keeps";
  const edu = { device: "edu", path: "/machine/peripheral/edu" };
  await client.ask({ execute: "device_del", arguments: { id: edu.path } });
  const twice = await client.ask({ execute: "device_del", arguments: { id: "edu" } });
  assert.equal(errorOf(twice).desc, "Device edu is already in the process of unplug");
  guest.serve();
  await expectEvent("DEVICE_UNPLUG_GUEST_ERROR", edu);
  guest.temper = "silent";
  await client.ask({ execute: "device_del", arguments: { id: "edu" } });
  guest.serve();
  client.send('{"execute":"system_reset"}');
  await expectEvent("DEVICE_DELETED", edu);
  await expectEvent("RESET", { guest: false, reason: "host-qmp-system-reset" });
  assert.deepEqual(await client.next(), { return: {} });
  const { id: _, ...anonymous } = device;
  await client.ask({ execute: "device_add", arguments: anonymous });
  await client.ask({
    execute: "device_del",
    arguments: { id: "/machine/peripheral-anon/device[0]" },
  });
  machine.life.end("guest-shutdown", "guest-shutdown");
  await expectEvent("SHUTDOWN", { guest: true, reason: "guest-shutdown" });
});

test("spec F25: after a device's error query-status says internal-error", async () => {
  await using machine = await StillControlled.start();
  using client = await RawClient.negotiated(machine.path);
  const device = { driver: "vfio-pci", id: "dev", host: MSIX };
  await client.ask({ execute: "device_add", arguments: device });
  machine.hot.machine.device(MSIX).irqs.notify(VFIO_PCI_ERR_IRQ_INDEX);
  machine.hot.machine.loop.dispatch();
  assert.equal((await client.next())!["event"], "STOP");
  const status = await client.ask({ execute: "query-status" });
  assert.deepEqual(status["return"], { running: false, status: "internal-error" });
  for (const execute of ["cont", "system_reset"]) {
    assert.match(errorOf(await client.ask({ execute })).desc, /internal error.*'quit'/);
  }
  await client.ask({ execute: "quit" });
  const end = await machine.life.ended;
  assert.deepEqual([end.reason, end.error?.message], ["error", `${MSIX}: AER`]);
});

test("query-pci shows buses, windows, BARs and ids in QEMU's shape", async () => {
  await using machine = await StillControlled.start();
  using client = await RawClient.negotiated(machine.path);
  const device = { driver: "vfio-pci", id: "dev", host: MSIX, bus: "rp1" };
  await client.ask({ execute: "device_add", arguments: device });
  machine.hot.guests[1]!.serve();
  const answer = await client.ask({ execute: "query-pci" });
  const [{ devices }] = answer["return"] as [{ devices: Record<string, unknown>[] }];
  assert.deepEqual(
    devices.map(({ slot, class_info }) => [slot, class_info]),
    [
      [0, { desc: "Host bridge", class: 0x0600 }],
      [1, { desc: "PCI bridge", class: 0x0604 }],
      [2, { desc: "PCI bridge", class: 0x0604 }],
    ],
  );
  const { bus, devices: below } = devices[2]!["pci_bridge"] as Record<string, unknown> & {
    devices: unknown[];
  };
  assert.deepEqual(bus, {
    number: 0,
    secondary: 2,
    subordinate: 2,
    io_range: { base: 0xf000, limit: 0x0fff },
    memory_range: { base: 0xe200_0000, limit: 0xe2ff_ffff },
    prefetchable_range: { base: 0xffff_ffff_fff0_0000, limit: 0xf_ffff },
  });
  const memory = { type: "memory", prefetch: false, mem_type_64: false };
  assert.deepEqual(below, [
    {
      ...{ bus: 2, slot: 0, function: 0, irq_pin: 0, qdev_id: "dev" },
      class_info: { class: 0x0880 },
      id: { vendor: 0x1b36, device: 0x10f0, "subsystem-vendor": 0x1af4, subsystem: 0x1100 },
      regions: [
        { ...memory, bar: 0, address: 0xe200_0000, size: 0x1000 },
        {
          ...memory,
          bar: 2,
          address: 0xe201_0000,
          size: 0x1_0000,
          prefetch: true,
          mem_type_64: true,
        },
        { ...memory, bar: 4, address: 0xe202_0000, size: 0x4000 },
        { ...memory, bar: 6, address: -1, size: 0x800 },
      ],
    },
  ]);
});

test("QmpServer refuses a path in use and replaces what a killed process left", async () => {
  await using machine = await StillControlled.start();
  const open = async (path: string) => {
    const { QmpServer } = await import("../../../src/machine/qmp/server.ts");
    return QmpServer.open(machine, path);
  };
  await assert.rejects(open(machine.path), { code: "USAGE", message: /another process listens/ });
  const file = `${machine.path}-file`;
  writeFileSync(file, "");
  await assert.rejects(open(file), { code: "USAGE", message: /there is a file of that name/ });
  await assert.rejects(open(`/${"x".repeat(108)}`), { message: /longer than 107 bytes/ });
  await assert.rejects(open("/proc/no-such-folder/socket"), { code: "USAGE" });
  const stale = `${machine.path}-stale`;
  await leaveSocket(stale);
  await using _server = await open(stale);
  using client = await RawClient.negotiated(stale);
  assert.ok(await client.ask({ execute: "query-status" }));
});

/** A socket in the file system whose process is gone. */
async function leaveSocket(path: string): Promise<void> {
  const { linkSync } = await import("node:fs");
  const server = createServer();
  await new Promise<void>((done) => server.listen(`${path}-made`, done));
  linkSync(`${path}-made`, path);
  await new Promise<void>((done) => server.close(() => done()));
}

test("QmpSession: whatever a client sends, nothing is thrown", async () => {
  await using machine = await StillControlled.start();
  const names = fc.constantFrom(
    ...[...COMMANDS.keys()].filter((name) => name !== "quit"),
    "toString",
  );
  const message = fc.record(
    {
      execute: fc.oneof(names, fc.jsonValue()),
      arguments: fc.oneof(
        fc.jsonValue(),
        fc.record({ driver: fc.constant("vfio-pci"), host: fc.string(), bus: fc.string() }),
        fc.record({ id: fc.constantFrom("rp0", "/machine/peripheral/rp0", "") }),
      ),
      id: fc.jsonValue(),
    },
    { requiredKeys: [] },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(message, fc.jsonValue())), async (messages) => {
      const sent: Message[] = [];
      const session = new QmpSession(machine, (reply) => void sent.push(reply));
      const all = [{ execute: "qmp_capabilities" }, ...messages];
      const bytes = Buffer.from(all.map((each) => JSON.stringify(each)).join("\n"));
      const items = [...session.receive(bytes), ...session.receive(Buffer.from("\n"))];
      for (const item of items) await session.answer(item);
      assert.equal(sent.length, all.length + 1);
    }),
    { numRuns: 200 },
  );
});
