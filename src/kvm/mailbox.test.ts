import assert from "node:assert/strict";
import { test } from "node:test";
import { Ledger } from "../sim/ledger.ts";
import { EventFd } from "../sys/event-fd.ts";
import { nativeSyscalls } from "../sys/native.ts";
import { COMMAND_PAUSE, COMMAND_STOP, Mailbox, mailboxMemory } from "./mailbox.ts";

test("Mailbox: a thread that cannot ring the doorbell fails instead of waiting for ever", () => {
  const sys = new Ledger(nativeSyscalls());
  using doorbell = EventFd.create(sys);
  const mailbox = new Mailbox(mailboxMemory(1), 0);
  sys.failAt(1, "EIO");
  assert.throws(() => mailbox.post(sys, doorbell.fd, 0), /ring the doorbell.*EIO/);
  mailbox.give(COMMAND_PAUSE);
  sys.failAt(1, "EIO");
  assert.throws(
    () => mailbox.pauseUntilNext(mailbox.epoch, sys, doorbell.fd),
    /ring the doorbell.*EIO/,
  );
});

test("Mailbox: a posted exit rings once and does not wait when told to stop", () => {
  const sys = nativeSyscalls();
  using doorbell = EventFd.create(sys);
  const mailbox = new Mailbox(mailboxMemory(1), 0);
  mailbox.give(COMMAND_STOP);
  mailbox.post(sys, doorbell.fd, 3);
  assert.deepEqual([mailbox.posted, mailbox.start, mailbox.runErrno], [true, 3, 0]);
  assert.equal(doorbell.drain(), true);
  assert.equal(doorbell.drain(), false);
});
