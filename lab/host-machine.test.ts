import assert from "node:assert/strict";
import { test } from "node:test";
import { givenDevices } from "./host-machine.ts";

test("givenDevices reads names of the zoo and addresses", () => {
  assert.deepEqual(givenDevices(" nvme=0000:01:00.0\n virtio-net=0001:0a:1f.7 "), [
    { name: "nvme", address: "0000:01:00.0", taken: false },
    { name: "virtio-net", address: "0001:0a:1f.7", taken: false },
  ]);
  assert.deepEqual(givenDevices(""), []);
  for (const wrong of ["nvme", "nvme=01:00.0", "=0000:01:00.0", "nvme=0000:01:00.8"]) {
    assert.throws(() => givenDevices(wrong), { code: "USAGE", message: /is no device/ });
  }
});
