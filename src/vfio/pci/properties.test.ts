import assert from "node:assert/strict";
import { test } from "node:test";
import { ViaductError } from "../../sys/sys-error.ts";
import { ID_UNSET, parseProperties, propertyNames } from "./properties.ts";

function refusal(given: Record<string, string>): ViaductError {
  try {
    parseProperties(given);
  } catch (error) {
    assert(error instanceof ViaductError);
    assert.equal(error.code, "PROPERTY");
    return error;
  }
  assert.fail(`${JSON.stringify(given)} was taken`);
}

/** Sections 1.3 and 1.4 of the specification, and `x-igd-compat`, which QEMU does not have. */
const DEFAULTS = {
  host: undefined,
  sysfsdev: undefined,
  "vf-token": undefined,
  fd: undefined,
  iommufd: undefined,
  display: "off",
  xres: 0,
  yres: 0,
  "x-intx-mmap-timeout-ms": 1100,
  "x-vga": false,
  "x-req": true,
  "x-igd-opregion": false,
  "x-igd-gms": 0,
  "x-igd-lpc": false,
  "x-igd-legacy-mode": "auto",
  "x-igd-compat": "10.0",
  "enable-migration": "auto",
  "x-pre-copy-dirty-page-tracking": "on",
  "x-device-dirty-page-tracking": "on",
  "migration-events": false,
  "x-migration-multifd-transfer": "auto",
  "x-no-mmap": false,
  "x-balloon-allowed": false,
  "x-no-kvm-intx": false,
  "x-no-kvm-msi": false,
  "x-no-kvm-msix": false,
  "x-no-geforce-quirks": false,
  "x-no-kvm-ioeventfd": false,
  "x-no-vfio-ioeventfd": false,
  "x-pci-vendor-id": ID_UNSET,
  "x-pci-device-id": ID_UNSET,
  "x-pci-sub-vendor-id": ID_UNSET,
  "x-pci-sub-device-id": ID_UNSET,
  "x-pci-class-code": ID_UNSET,
  "x-nv-gpudirect-clique": undefined,
  "x-msix-relocation": "off",
  "skip-vsc-check": true,
  bootindex: undefined,
  ramfb: false,
  "x-ramfb-migrate": "auto",
  "use-legacy-x86-rom": false,
  addr: undefined,
  multifunction: false,
  rombar: undefined,
  romfile: undefined,
  romsize: undefined,
  failover_pair_id: undefined,
  "acpi-index": 0,
  bus: undefined,
  id: undefined,
};

test("parseProperties: all properties of the specification, with its defaults", () => {
  assert.deepEqual(parseProperties({}, "vfio-pci-nohotplug"), DEFAULTS);
});

test("parseProperties: each property with a type of its own refuses what is not of it", () => {
  const words = ["sysfsdev", "fd", "iommufd", "romfile", "failover_pair_id", "bus", "id"];
  for (const name of Object.keys(DEFAULTS).filter((name) => !words.includes(name))) {
    const parse = () => parseProperties({ [name]: "-1x" }, "vfio-pci-nohotplug");
    assert.throws(parse, (error: ViaductError) => {
      assert.equal(error.code, "PROPERTY");
      assert.match(error.message, new RegExp(`\\b${name}\\b`));
      return true;
    });
  }
});

test("parseProperties: host takes what lspci shows, and completes it", () => {
  assert.equal(parseProperties({ host: "1:0.0" }).host, "0000:01:00.0");
  assert.equal(parseProperties({ host: "ABCD:fe:1f.7" }).host, "abcd:fe:1f.7");
  assert.equal(parseProperties({ host: "10000:1:0.0" }).host, "10000:01:00.0", "a VMD's domain");
  for (const host of ["", "1:0", "100:0.0.0", "1:20.0", "1:0.8", "1:0.0x", "g:0.0"]) {
    assert.match(refusal({ host }).message, /^Property 'vfio-pci.host' doesn't take value '/, host);
  }
});

test("parseProperties: numbers, switches and choices are refused in QEMU's words", () => {
  const refusals: Array<[Record<string, string>, string]> = [
    [{ "x-req": "maybe" }, "Parameter 'x-req' expects 'on' or 'off'"],
    [{ xres: "1k" }, "Parameter 'xres' expects uint32_t"],
    [{ xres: "0x100000000" }, "Parameter 'xres' expects uint32_t"],
    [{ display: "maybe" }, "Parameter 'display' does not accept value 'maybe'"],
    [{ "x-nv-gpudirect-clique": "16" }, "Property x-nv-gpudirect-clique: valid range [0,15]"],
    [{ "vf-token": "1234" }, "Property 'vfio-pci.vf-token' doesn't take value '1234'"],
    [{ romsize: "3000" }, "Property 'romsize' must be a power of two"],
    [{ addr: "20" }, "Property 'vfio-pci.addr' doesn't take value '20'"],
  ];
  for (const [given, message] of refusals) assert.equal(refusal(given).message, message);
});

test("parseProperties: what is taken is what was meant", () => {
  const values = parseProperties({
    "x-pci-device-id": "0x1234",
    addr: "05.3",
    romsize: "0x10000",
    multifunction: "yes",
    "x-msix-relocation": "bar3",
    "vf-token": "2AB74924-C335-45F4-9B16-8569E5B08258",
  });
  assert.equal(values["x-pci-device-id"], 0x1234);
  assert.equal(values.addr, 0x2b);
  assert.equal(values.romsize, 0x1_0000);
  assert.equal(values.multifunction, true);
  assert.equal(values["x-msix-relocation"], "bar3");
  assert.equal(values["vf-token"], "2ab74924-c335-45f4-9b16-8569e5b08258");
  const none = { "vf-token": "00000000-0000-0000-0000-000000000000" };
  assert.equal(parseProperties(none)["vf-token"], undefined);
});

test("parseProperties: an unknown name is refused, with the names it resembles", () => {
  const error = refusal({ "x-no-mmpa": "on" });
  assert.equal(error.message, "Property 'vfio-pci.x-no-mmpa' not found");
  assert.match(error.nextStep ?? "", /Did you mean x-no-mmap\?/);
  assert.match(refusal({ vga: "on" }).nextStep ?? "", /x-vga/);
  assert.doesNotMatch(refusal({ zzzzzz: "on" }).nextStep ?? "", /Did you mean/);
  assert.match(refusal({ toString: "on" }).message, /not found/);
});

test("parseProperties: ramfb is the nohotplug type's alone", () => {
  assert.match(refusal({ ramfb: "on" }).message, /'vfio-pci.ramfb' not found/);
  assert.equal(parseProperties({ ramfb: "on" }, "vfio-pci-nohotplug").ramfb, true);
  assert(!propertyNames("vfio-pci").includes("ramfb"));
});
