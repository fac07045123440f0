/** What people paste, and the code it belongs to. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { explainLine, peel } from "../../../src/host/explain.ts";
import { CATALOGUE, entryOf } from "../../../src/host/findings/catalogue.ts";
import { MESSAGES, WRAPPERS } from "./messages.ts";

const hex = (max: bigint) => fc.bigInt({ min: 0n, max }).map((value) => value.toString(16));
const padded = (max: number, width: number) =>
  fc.nat(max).map((value) => value.toString(16).padStart(width, "0"));

const VALUES: Readonly<Record<string, fc.Arbitrary<string>>> = {
  bdf: fc
    .tuple(padded(0xffff, 4), padded(0xff, 2), padded(0x1f, 2), fc.nat(7))
    .map(([domain, bus, slot, fn]) => `${domain}:${bus}:${slot}.${fn}`),
  group: fc.nat(9999).map(String),
  n: fc.nat(63).map(String),
  size: fc.nat().map(String),
  hex: hex(0xffff_ffff_ffff_ffffn),
  pid: fc.nat(4_194_304).map(String),
};

/** The template with a value of its own in every placeholder. */
function filled(template: string): fc.Arbitrary<string> {
  const parts = template.split(/\{(\w+)\}/);
  const values = parts.map((part, at) => (at % 2 === 0 ? fc.constant(part) : VALUES[part]!));
  return fc.tuple(...values).map((all) => all.join(""));
}

const wrapped = (text: string) =>
  fc
    .array(fc.constantFrom(...WRAPPERS), { maxLength: 4 })
    .chain((layers) => filled(layers.reduceRight((inner, wrap) => wrap(inner), text)));

for (const { code, text } of MESSAGES) {
  test(`explain knows ${code} in "${text.slice(0, 50)}", whatever the values and wrappers`, () => {
    fc.assert(
      fc.property(wrapped(text), (line) => {
        assert.equal(explainLine(line).entries[0]?.code, code, line);
      }),
      { numRuns: 60 },
    );
  });
}

test("every entry that has a message of its own is among the messages", () => {
  const known = new Set(MESSAGES.map(({ code }) => code));
  const silent = CATALOGUE.filter(({ code }) => !known.has(code)).map(({ code }) => code);
  // These are seen on the host, not read in a message.
  assert.deepEqual(silent, [
    "UNSAFE_INTERRUPTS_ON",
    "GROUP_SHARED",
    "ACS_OVERRIDE",
    "BOOT_RACE",
    "IDS_AMBIGUOUS",
    "BRIDGE_BOUND",
    "PF_WITH_VFS",
    "AMD_RESET_BUG",
    "ROM_NO_UEFI",
    "REBAR_RISK",
    "VFU_RAM_NOT_SHARED",
  ]);
});

test("each entry is known by its code and its number", () => {
  for (const entry of CATALOGUE) {
    assert.equal(entryOf(entry.code), entry);
    assert.equal(entryOf(entry.code.toLowerCase()), entry);
    assert.equal(entryOf(String(entry.number)), entry);
  }
});

test("the wrappers come off, down to the message", () => {
  fc.assert(
    fc.property(wrapped("group 14 is not viable"), (line) => {
      assert.match(peel(line), /^group 14 is not viable['")]*$/, line);
    }),
    { numRuns: 300 },
  );
});

test("an errno that alone is ambiguous asks for the kernel's log", () => {
  const permission = explainLine("failed to set iommu for container: Operation not permitted");
  assert.match(permission.question ?? "", /kernel's log/);
  assert.deepEqual(
    permission.entries.map(({ code }) => code),
    ["INTR_REMAP_MISSING", "RMRR_DEVICE"],
  );
  const invalid = explainLine("vfio: failed to set iommu for container: Invalid argument");
  assert.ok(invalid.entries.some(({ code }) => code === "IOVA_WIDTH"));
});

test("peel takes off every layer, and leaves text that has none", () => {
  assert.equal(peel("group 3 is not viable"), "group 3 is not viable");
  assert.equal(
    peel("qemu-kvm: -device vfio-pci,host=1:0.0: vfio 0000:01:00.0: group 3 is not viable"),
    "group 3 is not viable",
  );
});

test("text that is no message is not explained, whatever it holds", () => {
  assert.deepEqual(explainLine("the weather is nice").entries, []);
  fc.assert(
    fc.property(fc.string({ maxLength: 500 }), (text) => {
      explainLine(text);
      assert.ok(peel(text).length <= text.length);
    }),
    { numRuns: 500 },
  );
});
