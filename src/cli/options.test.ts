import assert from "node:assert/strict";
import { test } from "node:test";
import { ViaductError } from "../sys/sys-error.ts";
import { closest, parseCount, parseDeviceOption, parseSize } from "./options.ts";

const refused = (run: () => unknown, message: RegExp) =>
  assert.throws(run, (error: unknown) => {
    assert.ok(error instanceof ViaductError);
    assert.equal(error.code, "USAGE");
    assert.match(error.message, message);
    return true;
  });

test("parseDeviceOption splits properties; a doubled comma is one", () => {
  const { driver, properties } = parseDeviceOption("vfio-pci,host=01:00.0,x=a,,b,flag");
  assert.equal(driver, "vfio-pci");
  assert.deepEqual(
    [...properties],
    [
      ["host", "01:00.0"],
      ["x", "a,b"],
      ["flag", "on"],
    ],
  );
  refused(() => parseDeviceOption("host=01:00.0"), /the driver comes first/);
  refused(() => parseDeviceOption("vfio-pci,a=1,a=2"), /a is given twice/);
  refused(() => parseDeviceOption("vfio-pci,=1"), /no name/);
});

test("parseSize counts mebibytes unless a suffix says otherwise", () => {
  assert.equal(parseSize("--memory", "512"), 512 * 2 ** 20);
  assert.equal(parseSize("--memory", "1.5G"), 1.5 * 2 ** 30);
  assert.equal(parseSize("--memory", "6GiB"), 6 * 2 ** 30);
  refused(() => parseSize("--memory", "many"), /--memory many: not a size/);
  refused(() => parseSize("--memory", "-1"), /not a size/);
});

test("parseCount keeps to its range", () => {
  assert.equal(parseCount("--cpus", "4", 1, 255), 4);
  refused(() => parseCount("--cpus", "0", 1, 255), /from 1 to 255/);
  refused(() => parseCount("--cpus", "2x", 1, 255), /from 1 to 255/);
});

test("closest finds a typing mistake and nothing else", () => {
  assert.equal(closest("kernal", ["kernel", "initrd"]), "kernel");
  assert.equal(closest("banana", ["kernel", "initrd"]), undefined);
});
