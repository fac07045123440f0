import assert from "node:assert/strict";
import { test } from "node:test";
import { deviceOption, zooDevice } from "./zoo.ts";

test("zooDevice gives QEMU's spelling of a name and leaves other text alone", () => {
  assert.equal(zooDevice("ahci"), "ich9-ahci");
  assert.equal(zooDevice("nvme,mdts=5"), "nvme,mdts=5");
});

test("deviceOption writes truth as on and off, and a comma in a value twice", () => {
  assert.equal(
    deviceOption("nvme", { serial: "a,b", "use-intel-id": true, aer: false, num_queues: 4 }),
    "nvme,serial=a,,b,use-intel-id=on,aer=off,num_queues=4",
  );
});
