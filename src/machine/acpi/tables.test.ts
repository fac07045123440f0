import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ACPI_TABLES_START, GIB, pciWindows, ramLayout } from "../memory-map.ts";
import { checksum } from "./bytes.ts";
import { acpiTables, madt } from "./tables.ts";

const tables = (ramGib = 6) =>
  acpiTables({
    address: ACPI_TABLES_START,
    apicIds: [0, 1, 2, 3],
    windows: pciWindows(ramLayout(ramGib * GIB), 40),
    busCount: 16,
    serial: true,
  });

const u32At = (bytes: Uint8Array, at: number): number =>
  (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;

test("acpiTables: every table's length and checksum hold", () => {
  for (const [signature, bytes] of tables().bySignature) {
    assert.equal(Buffer.from(bytes.subarray(0, 4)).toString(), signature);
    assert.equal(u32At(bytes, 4), bytes.length, signature);
    assert.equal(checksum(bytes), 0, signature);
  }
  assert.equal(tables().bySignature.get("FACP")!.length, 276);
});

test("acpiTables: the RSDP leads to the XSDT, and that to the other tables", () => {
  const { bytes, rsdpAddress } = tables();
  const base = ACPI_TABLES_START;
  assert.equal(rsdpAddress, base);
  assert.equal(Buffer.from(bytes.subarray(0, 8)).toString(), "RSD PTR ");
  assert.equal(checksum(bytes.subarray(0, 20)), 0);
  assert.equal(checksum(bytes.subarray(0, 36)), 0);
  const xsdt = u32At(bytes, 24) - base;
  const signatures = [0, 1, 2].map((i) => {
    const at = u32At(bytes, xsdt + 36 + 8 * i) - base;
    return Buffer.from(bytes.subarray(at, at + 4)).toString();
  });
  assert.deepEqual(signatures, ["FACP", "APIC", "MCFG"]);
  const facp = u32At(bytes, xsdt + 36) - base;
  const facs = u32At(bytes, facp + 36) - base;
  assert.equal(Buffer.from(bytes.subarray(facs, facs + 4)).toString(), "FACS");
  assert.equal((facs + base) % 64, 0);
});

test("madt gives APIC ids above 254 the x2APIC form", () => {
  const bytes = madt([254, 255]);
  assert.deepEqual([...bytes.subarray(44, 48)], [0, 8, 0, 254]);
  assert.deepEqual([...bytes.subarray(52, 60)], [9, 16, 0, 0, 255, 0, 0, 0]);
});

const iasl = spawnSync("iasl", ["-v"]).status === 0;

test("iasl reads the tables back without complaint", { skip: !iasl && "no iasl" }, () => {
  const folder = mkdtempSync(join(tmpdir(), "viaduct-acpi-"));
  try {
    for (const [signature, bytes] of tables().bySignature) {
      const file = join(folder, `${signature}.aml`);
      writeFileSync(file, bytes);
      const disassembly = spawnSync("iasl", ["-d", file], { encoding: "utf8" });
      const said = disassembly.stdout + disassembly.stderr;
      assert.equal(disassembly.status, 0, said);
      assert.doesNotMatch(said, /Incorrect checksum|Invalid|[1-9]\d* Errors?/i, signature);
      const source = readFileSync(join(folder, `${signature}.dsl`), "utf8");
      assert.doesNotMatch(source, /Incorrect checksum|Unknown|invalid/i, signature);
      if (signature !== "DSDT") continue;
      const compiled = spawnSync("iasl", ["-vs", join(folder, "DSDT.dsl")], { encoding: "utf8" });
      assert.match(compiled.stdout, /0 Errors, 0 Warnings/, compiled.stdout);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
