import assert from "node:assert/strict";
import { test } from "node:test";
import { ioctlNumbers } from "./ioctl.ts";

test("_IO: no direction is 0 on x86, arm64 and s390, 1 on POWER and MIPS", () => {
  for (const arch of ["x64", "arm64", "s390x", "riscv64", "loong64"]) {
    assert.equal(ioctlNumbers(arch)._IO(";", 100), 0x3b64, arch);
  }
  for (const arch of ["ppc64", "ppc", "mips", "mipsel"]) {
    assert.equal(ioctlNumbers(arch)._IO(0x3b, 100), 0x20003b64, arch);
  }
});

test("_IOR, _IOW, _IOWR: direction and size of the argument, unsigned", () => {
  const x64 = ioctlNumbers("x64");
  // KVM_GET_REGS, KVM_SET_REGS (144 bytes), KVM_GET_MSRS (8 bytes) as strace prints them.
  assert.equal(x64._IOR(0xae, 0x81, 144), 0x8090ae81);
  assert.equal(x64._IOW(0xae, 0x82, { size: 144 }), 0x4090ae82);
  assert.equal(x64._IOWR(0xae, 0x88, 8), 0xc008ae88);
  const ppc = ioctlNumbers("ppc64");
  assert.equal(ppc._IOR("T", 1, 4), 0x40045401);
  assert.equal(ppc._IOW("T", 1, 4), 0x80045401);
  assert.equal(ppc._IOWR("T", 1, 4), 0xc0045401);
});

test("an argument that does not fit the size field is refused", () => {
  assert.throws(() => ioctlNumbers("x64")._IOR(0, 0, 0x4000), RangeError);
  assert.throws(() => ioctlNumbers("ppc64")._IOR(0, 0, 0x2000), RangeError);
});
