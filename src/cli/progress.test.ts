import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { waitingFor } from "./progress.ts";

/** What is written to standard error meanwhile, with timers that the test moves. */
async function saying(run: () => Promise<void>): Promise<string[]> {
  const said: string[] = [];
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const write = mock.method(process.stderr, "write", (text: string) => {
    said.push(text);
    return true;
  });
  try {
    await run();
  } finally {
    write.mock.restore();
    mock.timers.reset();
  }
  return said;
}

test("waitingFor is silent for a second, then says what it waits for, every five", async () => {
  const said = await saying(async () => {
    let done = () => {};
    const work = new Promise<void>((resolve) => {
      done = resolve;
    });
    const waiting = waitingFor("resetting", work);
    for (const ms of [999, 1, 5000, 5000]) mock.timers.tick(ms);
    done();
    await waiting;
    mock.timers.tick(60_000);
  });
  assert.equal(said.length, 3);
  for (const line of said) assert.match(line, /^viaduct: resetting \.\.\. \d+ s\n$/);
});

test("waitingFor passes on what the work gave, and what it threw", async () => {
  const said = await saying(async () => {
    assert.equal(await waitingFor("x", Promise.resolve(7)), 7);
    assert.equal(await waitingFor("x", 8), 8);
    await assert.rejects(waitingFor("x", Promise.reject(new Error("no"))), /no/);
    mock.timers.tick(60_000);
  });
  assert.deepEqual(said, []);
});
