import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { test } from "node:test";
import { Console, type ConsoleInput, EscapeKey } from "./console.ts";
import { Serial16550 } from "./serial-16550.ts";
import { SerialHost } from "./serial-host.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (data: Uint8Array) => Buffer.from(data).toString();

test("EscapeKey passes text through and takes commands out, also across reads", () => {
  const keys = new EscapeKey();
  const first = keys.feed(bytes("ab\x01\x01c\x01"));
  assert.equal(text(first.data), "ab\x01c");
  assert.deepEqual(first.commands, []);
  const second = keys.feed(bytes("xd\x01zq\x01P"));
  assert.equal(text(second.data), "dq");
  assert.deepEqual(second.commands, ["quit", "power-button"]);
});

class Terminal extends EventEmitter implements ConsoleInput {
  readonly isTTY = true;
  raw = false;
  reading = false;
  setRawMode(raw: boolean) {
    this.raw = raw;
  }
  resume() {
    this.reading = true;
  }
  pause() {
    this.reading = false;
  }
}

test("Console puts the terminal in raw mode and restores it", () => {
  const terminal = new Terminal();
  const got: string[] = [];
  const console = Console.open(terminal, {
    data: (data) => void got.push(text(data)),
    command: (command) => void got.push(command),
  });
  assert.equal(terminal.raw, true);
  terminal.emit("data", bytes("ls\n\x01x"));
  console[Symbol.dispose]();
  console[Symbol.dispose]();
  terminal.emit("data", bytes("more"));
  assert.deepEqual(got, ["ls\n", "quit"]);
  assert.deepEqual([terminal.raw, terminal.reading], [false, false]);
  assert.equal(terminal.listenerCount("data"), 0);
});

function serialPair(accepts: () => boolean) {
  const written: string[] = [];
  let drained = () => {};
  const serial: Serial16550 = new Serial16550(Serial16550.createMemory(), {
    raise: () => {},
    outputReady: () => host.outputReady(),
    inputWanted: () => host.inputWanted(),
  });
  const host: SerialHost = new SerialHost(serial, {
    write: (data, resume) => {
      written.push(text(data));
      drained = resume;
      return accepts();
    },
  });
  const print = (line: string) => {
    for (const byte of bytes(line)) serial.write(0, byte);
  };
  return { serial, host, written, print, drain: () => drained() };
}

test("SerialHost collects what follows the first byte", async () => {
  const { host, written, print } = serialPair(() => true);
  using _ = host;
  print("hello\n");
  await new Promise((resolve) => setTimeout(resolve, 30));
  print("again");
  host.flush();
  assert.equal(written.join(""), "hello\nagain");
  assert.ok(written.length <= 4, `${written.length} writes`);
});

test("SerialHost stops while its sink is full and goes on when it drained", () => {
  const { host, written, print, drain } = serialPair(() => written.length !== 1);
  using _ = host;
  print("abc");
  assert.deepEqual(written, ["a"]);
  drain();
  assert.deepEqual(written, ["a", "bc"]);
});

test("SerialHost types more than the port holds", () => {
  const { serial, host } = serialPair(() => true);
  using _ = host;
  host.type(new Uint8Array(6000).fill(0x61));
  let count = 0;
  while ((serial.read(5) & 1) !== 0) {
    serial.read(0);
    count++;
  }
  assert.equal(count, 6000);
});
