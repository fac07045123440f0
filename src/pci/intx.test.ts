import assert from "node:assert/strict";
import { test } from "node:test";
import { devfnOf } from "./bus.ts";
import { PciFunction } from "./function.ts";
import { RecordingPlatform } from "./recording-platform.ts";
import { RootComplex } from "./root-complex.ts";

function machine() {
  const platform = new RecordingPlatform();
  const root = new RootComplex({ platform });
  const device = (slot: number, pin: number) => {
    const fn = new PciFunction({ name: `device ${slot}`, bus: root.bus, devfn: devfnOf(slot) });
    fn.config.bytes[0x3d] = pin;
    root.bus.attach(fn);
    return fn;
  };
  return { platform, device };
}

test("a line stays high until the last function that shares it lets go", () => {
  const { platform, device } = machine();
  const [a, b] = [device(1, 1), device(9, 1)];
  a.setIntx(true);
  b.setIntx(true);
  b.setIntx(true);
  a.setIntx(false);
  assert.deepEqual(platform.edges, [[17, true]]);
  b.setIntx(false);
  assert.deepEqual(platform.edges, [
    [17, true],
    [17, false],
  ]);
});

test("INTX_DISABLE gates the line and STATUS shows the level regardless", () => {
  const { platform, device } = machine();
  const fn = device(1, 1);
  fn.writeConfig(0x04, 2, 0x400);
  fn.setIntx(true);
  assert.equal(platform.lines.size, 0);
  assert.equal(fn.readConfig(0x06, 2) & 8, 8);
  fn.writeConfig(0x05, 1, 0);
  assert.deepEqual([...platform.lines], [17]);
  fn.writeConfig(0x05, 1, 4);
  assert.equal(platform.lines.size, 0);
  fn.reset();
  assert.equal(fn.readConfig(0x06, 2) & 8, 0);
});

test("re-routing moves asserted lines and tells the functions that listen", () => {
  const { platform, device } = machine();
  const fn = device(1, 2);
  assert.deepEqual(fn.intxRoute(), { mode: "enabled", gsi: 18 });
  fn.setIntx(true);
  let told = 0;
  const listening = fn.onIntxRouteChange(() => {
    told += 1;
  });
  platform.reroute(() => ({ mode: "enabled", gsi: 5 }));
  assert.deepEqual([...platform.lines], [5]);
  platform.reroute(() => ({ mode: "disabled", gsi: -1 }));
  assert.deepEqual([...platform.lines], []);
  platform.reroute(() => ({ mode: "enabled", gsi: 9 }));
  assert.deepEqual([...platform.lines], [9]);
  assert.equal(told, 3);
  listening[Symbol.dispose]();
  platform.reroute(() => ({ mode: "enabled", gsi: 10 }));
  assert.equal(told, 3);
});

test("a function without a pin has no route and drives nothing; detaching lets go", () => {
  const { platform, device } = machine();
  const none = device(1, 0);
  none.setIntx(true);
  assert.equal(platform.lines.size, 0);
  assert.equal(none.intxRoute().mode, "disabled");
  const fn = device(2, 1);
  fn.setIntx(true);
  fn[Symbol.dispose]();
  assert.equal(platform.lines.size, 0);
});
