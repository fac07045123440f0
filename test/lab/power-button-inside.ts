/**
 * Runs inside L1 for hot-plug.test.ts: presses the power button of a guest whose ACPI driver counts
 * how often that happens. Prints the counts before and after as JSON.
 */

import { setTimeout as delay } from "node:timers/promises";
import type { GuestRunOptions } from "../../lab/guest-run.ts";
import { ControlledGuest } from "./controlled-guest.ts";

const COUNTER = "/sys/firmware/acpi/interrupts/ff_pwr_btn";
const TRIES = 100;

const options = JSON.parse(process.argv[2]!) as GuestRunOptions;
await using guest = await ControlledGuest.start(options, ["powerdown"]);

async function count(): Promise<number> {
  guest.type(`say "button $(cat ${COUNTER})"`);
  return Number.parseInt(await guest.says("button"), 10);
}

const before = await count();
await guest.qmp.execute("system_powerdown");
let after = before;
for (let tries = 0; after === before && tries < TRIES; tries++) {
  await delay(100);
  after = await count();
}
await guest.qmp.execute("quit");
const status = await guest.ended;
process.stdout.write(JSON.stringify({ before, after, status, events: guest.qmp.seen }));
