import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { TracePoint } from "../sys/trace.ts";
import { openRunTrace, traceHelp } from "./run-trace.ts";
import { parseTraceOptions, type TraceOptions } from "./trace-options.ts";

const access = new TracePoint("vfio_test_access", { name: "str", addr: "hex", len: "int" });
const state = new TracePoint("vfio_test_state", { name: "str", on: "bool", val: "hex" });

class Folder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "viaduct-trace-"));
  readonly text = join(this.path, "text");
  readonly json = join(this.path, "json");
  lines = (path: string) => readFileSync(path, "utf8").split("\n").slice(0, -1);
  [Symbol.dispose] = () => rmSync(this.path, { recursive: true });
}

/** Traces what `emit` does, and returns what was noted. */
async function traced(given: string[], json: string | undefined, emit: () => void) {
  const notes: string[] = [];
  const options = parseTraceOptions(given, json) as TraceOptions;
  await using _trace = openRunTrace(options, (text) => void notes.push(text));
  emit();
  return notes;
}

test("openRunTrace writes a line an event: addresses in hex, counts in decimal", async () => {
  using folder = new Folder();
  await traced([`vfio_test_*,file=${folder.text}`], undefined, () => {
    for (let i = 0; i < 3; i++)
      access.emit({ name: "0000:01:00.0", addr: BigInt(i) << 40n, len: 16 });
    state.emit({ val: -5, on: true, name: "0000:01:00.0 BAR 0" });
  });
  assert.deepEqual(folder.lines(folder.text), [
    "vfio_test_access name=0000:01:00.0 addr=0x0 len=16",
    "vfio_test_access name=0000:01:00.0 addr=0x10000000000 len=16",
    "vfio_test_access name=0000:01:00.0 addr=0x20000000000 len=16",
    'vfio_test_state name="0000:01:00.0 BAR 0" on=true val=0xfffffffb',
  ]);
  assert.equal(access.enabled, false);
});

test("--trace-json alone records every event, as JSON with its time", async () => {
  using folder = new Folder();
  const before = performance.now();
  await traced([], folder.json, () => {
    access.emit({ name: "a", addr: 2n ** 63n, len: 4 });
    state.emit({ name: "b", on: false, val: 7 });
  });
  const events = folder.lines(folder.json).map((line) => JSON.parse(line));
  assert.deepEqual(
    events.map(({ event, args }) => [event, args]),
    [
      ["vfio_test_access", { name: "a", addr: "0x8000000000000000", len: 4 }],
      ["vfio_test_state", { name: "b", on: false, val: "0x7" }],
    ],
  );
  assert.ok(events[0].ms >= Math.floor(before) && events[1].ms >= events[0].ms);
});

test("patterns choose in their order, from files too; a dash takes away", async () => {
  using folder = new Folder();
  const list = join(folder.path, "events");
  writeFileSync(list, "# of the test\n\nvfio_test_access\n");
  const emit = () => {
    access.emit({ name: "a", addr: 1, len: 1 });
    state.emit({ name: "b", on: true, val: 1 });
  };
  const events = async (...given: string[]) => {
    await traced([...given, `file=${folder.text}`], undefined, emit);
    return folder.lines(folder.text).map((line) => line.split(" ")[0]);
  };
  assert.deepEqual(await events(`events=${list}`), ["vfio_test_access"]);
  assert.deepEqual(await events("enable=*", "-vfio_test_a*"), ["vfio_test_state"]);
  assert.deepEqual(await events("vfio_test_?????"), ["vfio_test_state"]);
  assert.deepEqual(await events("vfio_test_state", "vfio_test_*"), [
    "vfio_test_access",
    "vfio_test_state",
  ]);
});

test("an event that does not exist is named, with the one that was meant", async () => {
  using folder = new Folder();
  const given = [`vfio_region_reed,file=${folder.text}`, "kvm_zzz"];
  assert.deepEqual(await traced(given, undefined, () => {}), [
    "there is no trace event vfio_region_reed: did you mean vfio_region_read?",
    "there is no trace event kvm_zzz: see --trace help",
  ]);
});

test("a file that cannot be used is an error at the start, which names the option", () => {
  const open = (given: string[], json?: string) => () =>
    openRunTrace(parseTraceOptions(given, json) as TraceOptions, () => {});
  const usage = (message: RegExp) => ({ code: "USAGE", message });
  assert.throws(
    open(["vfio_*,file=/nowhere/x"]),
    usage(/^--trace file \/nowhere\/x: Cannot write/),
  );
  assert.throws(open([], "/nowhere/x"), usage(/^--trace-json \/nowhere\/x: Cannot write there/));
  assert.throws(open(["events=/nowhere/x"]), usage(/^--trace events=\/nowhere\/x: Cannot read it/));
  assert.throws(open(["enable="]), usage(/a value is missing/));
  assert.throws(open(["sink=x"]), usage(/there is no sink/));
});

test("--trace help lists the events with their arguments", () => {
  assert.equal(parseTraceOptions(["help"], undefined), "help");
  assert.equal(parseTraceOptions([], undefined), undefined);
  assert.ok(traceHelp().includes("\nvfio_region_read name index addr size data\n"));
});
