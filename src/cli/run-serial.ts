/** Where `--serial` leads: stdout, a file, or events when stdout carries those. */

import { createWriteStream } from "node:fs";
import type { SerialSink } from "../machine/serial-host.ts";
import { openForWriting, type RunEvents } from "./run-events.ts";
import type { RunOptions } from "./run-options.ts";

export interface SerialOutput extends AsyncDisposable {
  readonly sink: SerialSink | undefined;
}

/** @throws {ViaductError} USAGE: the file cannot be written */
export function openSerial(options: RunOptions, events: RunEvents): SerialOutput {
  const done = async () => {};
  switch (options.serial.kind) {
    case "none":
      return { sink: undefined, [Symbol.asyncDispose]: done };
    case "file":
      return toStream(openFile(options.serial.path), true);
    case "stdio":
      if (options.json === "") return { sink: toEvents(events), [Symbol.asyncDispose]: done };
      return toStream(process.stdout, false);
  }
}

function openFile(path: string): NodeJS.WritableStream {
  return createWriteStream(path, { fd: openForWriting("--serial", path) });
}

function toEvents(events: RunEvents): SerialSink {
  const decoder = new TextDecoder();
  return {
    write(bytes) {
      events.emit("serial", { text: decoder.decode(bytes, { stream: true }) });
      return true;
    },
  };
}

function toStream(stream: NodeJS.WritableStream, end: boolean): SerialOutput {
  let failed = false;
  // A reader that went away does not end the guest; its output is dropped.
  stream.on("error", () => {
    failed = true;
  });
  const sink: SerialSink = {
    write(bytes, drained) {
      if (failed || stream.write(bytes)) return true;
      stream.once("drain", drained);
      return false;
    },
  };
  const flushed = () =>
    new Promise<void>((resolve) => {
      if (failed) resolve();
      else if (end) stream.end(() => resolve());
      else stream.write("", () => resolve());
    });
  return { sink, [Symbol.asyncDispose]: flushed };
}
