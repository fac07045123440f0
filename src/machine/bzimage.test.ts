import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { tinyBzImage } from "../../test/unit/machine/tiny-bzimage.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { HEADER_BYTES, parseBzImage } from "./bzimage.ts";

const parse = (bytes: Uint8Array) =>
  parseBzImage("vmlinuz", bytes.subarray(0, HEADER_BYTES), bytes.length);

const refusal = (bytes: Uint8Array): string => {
  try {
    parse(bytes);
  } catch (error) {
    assert.ok(error instanceof ViaductError);
    assert.equal(error.code, "KERNEL_IMAGE");
    assert.match(error.nextStep ?? "", /vmlinuz/);
    return error.message;
  }
  return assert.fail("accepted");
};

test("parseBzImage reads where the kernel lies and what it needs", () => {
  const image = parse(tinyBzImage(Uint8Array.of(0xf4)));
  assert.equal(image.protocol, 0x020f);
  assert.equal(image.loadAddress, 0x100_0000);
  assert.equal(image.payloadOffset, 1024);
  assert.equal(image.relocatable, true);
  assert.equal(image.commandLineMax, 2047);
});

test("parseBzImage says what a wrong file is", () => {
  const padded = (...head: number[]) => Uint8Array.from({ length: 2048 }, (_, i) => head[i] ?? 0);
  assert.match(refusal(new Uint8Array(0)), /empty/);
  assert.match(refusal(new Uint8Array(100)), /only 100 bytes/);
  assert.match(refusal(padded(0x7f, 0x45, 0x4c, 0x46)), /ELF/);
  assert.match(refusal(padded(0x1f, 0x8b)), /gzip/);
  assert.match(refusal(padded(0x30, 0x37, 0x30, 0x37, 0x30, 0x31)), /initrd/);
  assert.match(refusal(padded(1)), /0xaa55/);
});

test("parseBzImage refuses an old protocol, a 32-bit kernel and a cut-off file", () => {
  const changed = (at: number, ...bytes: number[]) => {
    const image = tinyBzImage(Uint8Array.of(0xf4));
    image.set(bytes, at);
    return image;
  };
  assert.match(refusal(changed(0x206, 0x05, 0x02)), /2\.05 is older/);
  assert.match(refusal(changed(0x236, 0)), /32-bit/);
  assert.match(refusal(changed(0x211, 0)), /zImage/);
  assert.match(refusal(tinyBzImage(new Uint8Array(0))), /ends at byte 1024/);
});

test("parseBzImage throws nothing but ViaductError, whatever the file holds", () => {
  const base = tinyBzImage(Uint8Array.of(0xf4));
  const damage = fc.array(fc.tuple(fc.integer({ min: 0, max: 1023 }), fc.nat(255)));
  fc.assert(
    fc.property(damage, fc.nat(2048), (changes, length) => {
      const bytes = base.slice();
      for (const [at, value] of changes) bytes[at] = value;
      try {
        const image = parse(bytes.subarray(0, length));
        assert.ok(image.payloadSize > 0);
      } catch (error) {
        assert.ok(error instanceof ViaductError, String(error));
      }
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2048 }), (bytes) => {
      assert.throws(() => parse(bytes), ViaductError);
    }),
  );
});
