import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { code } from "../../test/unit/machine/payload.ts";
import { tinyBzImage } from "../../test/unit/machine/tiny-bzimage.ts";
import { Kvm } from "../kvm/kvm.ts";
import { Ledger } from "../sim/ledger.ts";
import { nativeSyscalls } from "../sys/native.ts";
import { Machine, type MachineEnd, type MachineOptions } from "./machine.ts";
import { MIB } from "./memory-map.ts";

const LIMIT_MS = 20_000;

const skip = ((): string | false => {
  try {
    Kvm.open(nativeSyscalls())[Symbol.dispose]();
    return false;
  } catch (error) {
    return (error as Error).message;
  }
})();

interface Run {
  readonly end: MachineEnd;
  readonly output: string;
  readonly live: string[];
  readonly states: string[];
  readonly ledger: Ledger;
}

type Overrides = Partial<Omit<MachineOptions, "kernel">> & {
  /** Called when the guest's output contains `when`. */
  readonly interact?: { when: string; act: (machine: Machine) => void };
};

async function run(program: readonly number[], overrides: Overrides = {}): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), "viaduct-machine-"));
  const ledger = new Ledger(nativeSyscalls());
  let output = "";
  const states: string[] = [];
  const { interact, ...options } = overrides;
  try {
    const kernel = join(folder, "vmlinuz");
    writeFileSync(kernel, tinyBzImage(Uint8Array.from(program)));
    const machine = await Machine.create(ledger, {
      kernel,
      initrd: undefined,
      commandLine: "",
      ramSize: 64 * MIB,
      cpus: 1,
      irqchip: "full",
      devices: [],
      serial: {
        write: (bytes) => {
          output += Buffer.from(bytes).toString();
          if (interact !== undefined && output.includes(interact.when)) interact.act(machine);
          return true;
        },
      },
      noReboot: false,
      onState: (state) => void states.push(state),
      ...options,
    });
    await machine.start();
    const timer = setTimeout(() => machine.quit(), LIMIT_MS);
    const end = await machine.ended;
    clearTimeout(timer);
    await machine.close();
    return { end, output, live: ledger.live(), states, ledger };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

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
    interact: { when: "go", act: (machine) => machine.quit() },
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
        if (resets++ === 0) void machine.reset();
      },
    },
  });
  assert.equal(end.reason, "guest-shutdown");
  assert.equal(output, "boot goboot ");
});
