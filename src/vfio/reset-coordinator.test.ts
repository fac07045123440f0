import assert from "node:assert/strict";
import { test } from "node:test";
import { ResetCoordinator, type ResetParticipant } from "./reset-coordinator.ts";

test("spec T26: two functions of a slot are reset once; the other's mark is cleared", () => {
  const coordinator = new ResetCoordinator();
  const log: string[] = [];
  const slot: ResetParticipant[] = [];
  const add = (name: string, needed: boolean, together: ResetParticipant[]) => {
    const participant: ResetParticipant = {
      needsReset: false,
      computeNeedsReset() {
        log.push(`ask ${name}`);
        this.needsReset = needed;
      },
      hotResetMulti() {
        log.push(`reset ${name}`);
        for (const other of together) other.needsReset = false;
      },
    };
    together.push(participant);
    return coordinator.add(participant);
  };
  add("01:00.0", true, slot);
  const second = add("01:00.1", true, slot);
  add("02:00.0", false, []);
  coordinator.resetAll();
  assert.deepEqual(log, ["ask 02:00.0", "ask 01:00.1", "ask 01:00.0", "reset 01:00.1"]);
  second[Symbol.dispose]();
  log.length = 0;
  coordinator.resetAll();
  assert.deepEqual(log, ["ask 02:00.0", "ask 01:00.0", "reset 01:00.0"]);
});
