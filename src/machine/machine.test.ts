import assert from "node:assert/strict";
import { test } from "node:test";
import { code } from "../../test/unit/machine/payload.ts";
import { runProgram as run, skipWithoutKvm } from "../../test/unit/machine/run-program.ts";

const skip = skipWithoutKvm;

test("Machine runs a kernel that prints and powers off, and holds nothing then", {
  skip,
}, async () => {
  const { end, output, live, states } = await run([...code.print("hello\n"), ...code.powerOff()]);
  assert.deepEqual(end, { reason: "guest-shutdown" });
  assert.equal(output, "hello\n");
  assert.deepEqual(states, ["running", "shutdown"]);
  assert.deepEqual(live, []);
});

for (const irqchip of ["full", "split"] as const) {
  for (const cpus of [1, 2, 4]) {
    test(`Machine runs with ${cpus} vCPUs and a ${irqchip} irqchip`, { skip }, async () => {
      const { end, output, live } = await run([...code.print("ok"), ...code.powerOff()], {
        irqchip,
        cpus,
      });
      assert.equal(end.reason, "guest-shutdown");
      assert.equal(output, "ok");
      assert.deepEqual(live, []);
    });
  }
}

const COUNTER = 0x3000;
const twice = (ending: readonly number[]) => [
  ...code.print("boot "),
  ...code.untilCount(COUNTER, 2, ending),
  ...code.powerOff(),
];

test("Machine restarts the guest at a reset through port 0xcf9", { skip }, async () => {
  const { end, output, states, live } = await run(twice(code.reset()), { cpus: 2 });
  assert.equal(end.reason, "guest-shutdown");
  assert.equal(output, "boot boot ");
  assert.deepEqual(states, ["running", "resetting", "running", "shutdown"]);
  assert.deepEqual(live, []);
});

test("Machine restarts the guest after a triple fault", { skip }, async () => {
  const { end, output } = await run(twice(code.tripleFault()));
  assert.equal(end.reason, "guest-shutdown");
  assert.equal(output, "boot boot ");
});

test("Machine ends instead of restarting with noReboot", { skip }, async () => {
  const reset = await run(code.reset(), { noReboot: true });
  assert.equal(reset.end.reason, "guest-reset");
  const fault = await run(code.tripleFault(), { noReboot: true });
  assert.equal(fault.end.reason, "triple-fault");
  assert.match(fault.end.error?.message ?? "", /vCPU 0: The guest died of a triple fault/);
});

test("Machine.quit stops a guest that spins", { skip }, async () => {
  const { end, live } = await run([...code.print("go"), ...code.spin()], {
    interact: { when: "go", act: (machine) => machine.quit("host-ui") },
  });
  assert.equal(end.reason, "host-quit");
  assert.deepEqual(live, []);
});

test("Machine.reset restarts a guest that spins", { skip }, async () => {
  const program = twice([...code.print("go"), ...code.spin()]);
  let resets = 0;
  const { end, output } = await run(program, {
    interact: {
      when: "go",
      act: (machine) => {
        if (resets++ === 0) void machine.reset("host-ui");
      },
    },
  });
  assert.equal(end.reason, "guest-shutdown");
  assert.equal(output, "boot goboot ");
});
