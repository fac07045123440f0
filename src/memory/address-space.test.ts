import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createAddressSpace, type MemoryListener, type Section } from "./address-space.ts";
import { type IoHandler, MemoryRegion, type RegionKind } from "./region.ts";

/** Records what it is told, and follows it. */
class Recorder implements MemoryListener {
  readonly priority: number;
  readonly log: string[];
  readonly present = new Map<bigint, Section>();

  constructor(priority = 0, log: string[] = []) {
    this.priority = priority;
    this.log = log;
  }

  remove(section: Section): void {
    assert.equal(this.present.get(section.address), section, "removed what was added");
    this.present.delete(section.address);
    this.log.push(`${this.priority}- ${section.region.name}@${section.address}`);
  }

  add(section: Section): void {
    for (const other of this.present.values()) {
      const apart =
        section.address + section.size <= other.address ||
        other.address + other.size <= section.address;
      assert(apart, "sections do not overlap at any moment");
    }
    this.present.set(section.address, section);
    this.log.push(`${this.priority}+ ${section.region.name}@${section.address}`);
  }

  get sections(): Section[] {
    return [...this.present.values()].sort((a, b) => Number(a.address - b.address));
  }
}

const container = (size = 1n << 64n) => new MemoryRegion("root", "container", size);
const io = (name: string, size: bigint, handler?: IoHandler) =>
  new MemoryRegion(name, "io", size, handler ? { handler } : {});

/** A register file of bytes that remembers its accesses. */
function registers(size: number): IoHandler & { bytes: Uint8Array; log: string[] } {
  const bytes = Uint8Array.from({ length: size }, (_, at) => at + 1);
  const log: string[] = [];
  return {
    bytes,
    log,
    read(offset, width) {
      log.push(`r${width}@${offset}`);
      let value = 0;
      for (let i = width - 1; i >= 0; i--) value = value * 256 + bytes[offset + i]!;
      return value;
    },
    write(offset, width, value) {
      log.push(`w${width}@${offset}=${value.toString(16)}`);
    },
  };
}

test("a moved region is one removal and one addition, and nothing else is touched", () => {
  const root = container();
  const bar = io("bar", 0x1000n);
  root.add(new MemoryRegion("ram", "ram", 0x10000n), 0n, -1);
  root.add(bar, 0x2_0000n);
  const space = createAddressSpace("memory", root);
  const recorder = new Recorder();
  space.listen(recorder);
  recorder.log.length = 0;
  space.transaction(() => {
    root.remove(bar);
    space.transaction(() => root.add(bar, 0x3_0000n));
    assert.deepEqual(recorder.log, []);
  });
  assert.deepEqual(recorder.log, [`0- bar@${0x2_0000}`, `0+ bar@${0x3_0000}`]);
});

test("an overlay splits what lies under it, and lifting it restores one section", () => {
  const root = container();
  root.add(new MemoryRegion("ram", "ram", 0x3000n), 0n);
  const bar = io("bar", 0x1000n);
  bar.setEnabled(false);
  root.add(bar, 0x1000n, 1);
  const space = createAddressSpace("memory", root);
  assert.equal(space.sections.length, 1);
  bar.setEnabled(true);
  const shape = space.sections.map((s) => [s.region.name, s.address, s.size, s.offsetInRegion]);
  assert.deepEqual(shape, [
    ["ram", 0n, 0x1000n, 0n],
    ["bar", 0x1000n, 0x1000n, 0n],
    ["ram", 0x2000n, 0x1000n, 0x2000n],
  ]);
  bar.setEnabled(false);
  assert.equal(space.sections.length, 1);
});

test("a region of 2^64 bytes covers every address, and children are clipped to parents", () => {
  const root = container();
  const window = container(0x1000n);
  root.add(io("everything", 1n << 64n), 0n, -10);
  root.add(window, 0xffff_ffff_ffff_f000n);
  window.add(io("wide", 0x4000n), 0x800n);
  const space = createAddressSpace("memory", root);
  assert.equal(space.find(0xffff_ffff_ffff_ffffn)?.region.name, "wide");
  assert.equal(space.find(0xffff_ffff_ffff_f7ffn)?.region.name, "everything");
  assert.equal(space.sections.at(-1)?.size, 0x800n);
});

test("listeners: lower priorities see additions first and removals last", () => {
  const root = container();
  const space = createAddressSpace("memory", root);
  const log: string[] = [];
  space.listen(new Recorder(10, log));
  const second = space.listen(new Recorder(0, log));
  const bar = io("bar", 0x10n);
  root.add(bar, 0n);
  root.remove(bar);
  assert.deepEqual(log, ["0+ bar@0", "10+ bar@0", "10- bar@0", "0- bar@0"]);
  root.add(bar, 0n);
  log.length = 0;
  second[Symbol.dispose]();
  second[Symbol.dispose]();
  assert.deepEqual(log, ["0- bar@0"]);
});

test("listen: a listener that refuses a section is shown the removal of those before it", () => {
  const root = container();
  for (const at of [0n, 0x100n, 0x200n]) root.add(io(`r${at}`, 0x10n), at);
  const space = createAddressSpace("memory", root);
  const recorder = new Recorder();
  const add = recorder.add.bind(recorder);
  recorder.add = (section) => {
    if (section.address === 0x200n) throw new Error("no slot");
    add(section);
  };
  assert.throws(() => space.listen(recorder), /no slot/);
  assert.equal(recorder.present.size, 0);
});

test("a commit in which one listener throws still reaches the others", () => {
  const root = container();
  const space = createAddressSpace("memory", root);
  space.listen({
    priority: 0,
    add: () => {
      throw new Error("refused");
    },
    remove: () => {},
  });
  const recorder = new Recorder(1);
  space.listen(recorder);
  assert.throws(() => root.add(io("bar", 0x10n), 0n), /refused/);
  assert.equal(recorder.present.size, 1);
});

test("read and write split across sections, and nothing-there reads all ones", () => {
  const root = container();
  const low = registers(6);
  const high = registers(8);
  root.add(io("low", 6n, low), 0x100n);
  root.add(io("high", 8n, high), 0x106n);
  const space = createAddressSpace("memory", root);
  assert.equal(space.read(0x104n, 4), 0x02010605n);
  assert.deepEqual(low.log, ["r2@4"]);
  assert.deepEqual(high.log, ["r2@0"]);
  assert.equal(space.read(0x10cn, 4), 0xffff_0807n);
  assert.equal(space.read(0xfen, 4), 0x0201_ffffn);
  assert.equal(space.read(0x1_0000n, 8), 0xffff_ffff_ffff_ffffn);
  space.write(0x104n, 4, 0xaabbccddn);
  assert.equal(low.log.at(-1), "w2@4=ccdd");
  assert.equal(high.log.at(-1), "w2@0=aabb");
  space.write(0x2_0000n, 8, 1n);
});

test("an access that leaves the last address does not go on at the first", () => {
  const root = container();
  const first = registers(8);
  root.add(io("first", 8n, first), 0n);
  const space = createAddressSpace("memory", root);
  assert.equal(space.read(0xffff_ffff_ffff_fffen, 4), 0xffff_ffffn);
  space.write(0xffff_ffff_ffff_fffen, 8, 0n);
  assert.deepEqual(first.log, []);
});

test("an 8-byte access is two of 4, low half first, unless the handler has the 64-bit pair", () => {
  const root = container();
  const pair = registers(16);
  root.add(io("pair", 16n, pair), 0n);
  const wide: bigint[] = [];
  root.add(
    io("wide", 16n, {
      ...registers(16),
      read64: () => 0x1122334455667788n,
      write64: (_offset, value) => void wide.push(value),
    }),
    0x10n,
  );
  const space = createAddressSpace("memory", root);
  assert.equal(space.read(0n, 8), 0x0807060504030201n);
  assert.deepEqual(pair.log, ["r4@0", "r4@4"]);
  space.write(8n, 8, 0x1122334455667788n);
  assert.deepEqual(pair.log.slice(2), ["w4@8=55667788", "w4@12=11223344"]);
  assert.equal(space.read(0x18n, 8), 0x1122334455667788n);
  space.write(0x10n, 8, 7n);
  assert.deepEqual(wide, [7n]);
});

/** Which region answers, found the slow way. */
function oracle(
  region: MemoryRegion,
  base: bigint,
  address: bigint,
): [MemoryRegion, bigint] | undefined {
  const inside = region.enabled && address >= base && address < base + region.size;
  if (!inside) return undefined;
  for (const child of region.placed) {
    const found = oracle(child.region, base + child.offset, address);
    if (found !== undefined) return found;
  }
  return region.kind === "container" ? undefined : [region, address - base];
}

const SPACE = 48;
const KINDS: readonly RegionKind[] = ["container", "ram", "rom", "ram-device", "io"];
const step = fc.record({
  act: fc.constantFrom("add", "add", "add", "remove", "enable", "size", "move"),
  target: fc.nat(20),
  parent: fc.nat(20),
  offset: fc.nat(SPACE),
  size: fc.integer({ min: 0, max: SPACE }),
  priority: fc.integer({ min: -2, max: 2 }),
  kind: fc.constantFrom(...KINDS),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

interface Grown {
  readonly region: MemoryRegion;
  parent: MemoryRegion | undefined;
}

function grow(tree: Grown[], { act, ...s }: Step): void {
  const target = tree[1 + (s.target % Math.max(tree.length - 1, 1))];
  if (act === "add") {
    const parent = tree[s.parent % tree.length]!.region;
    const region = new MemoryRegion(`n${tree.length}`, s.kind, BigInt(s.size));
    tree.push({ region, parent });
    parent.add(region, BigInt(s.offset), s.priority);
  } else if (target === undefined) {
    return;
  } else if (act === "enable") {
    target.region.setEnabled(!target.region.enabled);
  } else if (act === "size") {
    target.region.setSize(BigInt(s.size));
  } else if (target.parent !== undefined) {
    target.parent.remove(target.region);
    if (act === "move") target.parent.add(target.region, BigInt(s.offset), s.priority);
    else target.parent = undefined;
  }
}

function assertMatches(root: MemoryRegion, sections: readonly Section[]): void {
  for (let at = 0n; at < SPACE * 4; at++) {
    const section = sections.find((s) => at >= s.address && at < s.address + s.size);
    const expected = oracle(root, 0n, at);
    assert.equal(section?.region, expected?.[0]);
    if (section === undefined || expected === undefined) continue;
    assert.equal(section.offsetInRegion + (at - section.address), expected[1]);
    assert.equal(section.readOnly, expected[0].kind === "rom");
  }
}

test("the flat view of any tree equals a look-up per address, and listeners follow it", () => {
  fc.assert(
    fc.property(fc.array(fc.array(step, { maxLength: 4 }), { maxLength: 12 }), (commits) => {
      const root = container(BigInt(SPACE) * 3n);
      const tree: Grown[] = [{ region: root, parent: undefined }];
      const space = createAddressSpace("memory", root);
      const recorder = new Recorder();
      space.listen(recorder);
      for (const steps of commits) {
        space.transaction(() => {
          for (const one of steps) grow(tree, one);
        });
        assertMatches(root, space.sections);
        assert.deepEqual(recorder.sections, [...space.sections]);
        for (let at = 0n; at < SPACE; at += 5n) {
          assert.equal(space.find(at)?.region, oracle(root, 0n, at)?.[0]);
        }
      }
    }),
    { numRuns: 60 },
  );
});
