/**
 * The person's terminal as the guest's serial console. The terminal is put in raw mode, so that
 * Ctrl-c goes to the guest; Ctrl-a is the escape key, as with QEMU's -nographic. Works as well when
 * stdin is a pipe or a file. Whatever ends the process, the terminal is as it was before.
 */

export const ESCAPE_HELP = [
  "Ctrl-a h    this help",
  "Ctrl-a x    quit: stop the guest at once",
  "Ctrl-a p    press the guest's power button",
  "Ctrl-a r    reset the guest",
  "Ctrl-a Ctrl-a    send Ctrl-a to the guest",
];

const ESCAPE = 0x01;

export type ConsoleCommand = "help" | "quit" | "power-button" | "reset";

const COMMANDS: Readonly<Record<string, ConsoleCommand>> = {
  h: "help",
  "?": "help",
  x: "quit",
  p: "power-button",
  r: "reset",
};

/** Separates what is typed to the guest from commands to us. */
export class EscapeKey {
  #escaped = false;

  feed(bytes: Uint8Array): { data: Uint8Array; commands: ConsoleCommand[] } {
    const data: number[] = [];
    const commands: ConsoleCommand[] = [];
    for (const byte of bytes) {
      if (!this.#escaped) {
        if (byte === ESCAPE) this.#escaped = true;
        else data.push(byte);
        continue;
      }
      this.#escaped = false;
      const command = COMMANDS[String.fromCharCode(byte).toLowerCase()];
      if (command !== undefined) commands.push(command);
      else if (byte === ESCAPE) data.push(ESCAPE);
    }
    return { data: Uint8Array.from(data), commands };
  }
}

/** What of `process.stdin` is used; a pipe or a file has no raw mode. */
export interface ConsoleInput {
  readonly isTTY?: boolean;
  setRawMode?(raw: boolean): unknown;
  on(event: "data", listener: (bytes: Uint8Array) => void): unknown;
  off(event: "data", listener: (bytes: Uint8Array) => void): unknown;
  resume(): unknown;
  pause(): unknown;
  unref?(): unknown;
}

/** Reads `input` until disposed; commands and data are told apart. */
export class Console implements Disposable {
  readonly #input: ConsoleInput;
  readonly #keys = new EscapeKey();
  readonly #listener: (bytes: Uint8Array) => void;
  readonly #restore: () => void;
  #open = true;

  private constructor(
    input: ConsoleInput,
    handlers: { data(bytes: Uint8Array): void; command(command: ConsoleCommand): void },
  ) {
    this.#input = input;
    this.#listener = (bytes) => {
      const { data, commands } = this.#keys.feed(bytes);
      handlers.data(data);
      for (const command of commands) handlers.command(command);
    };
    this.#restore = () => void (input.isTTY && input.setRawMode?.(false));
  }

  static open(
    input: ConsoleInput,
    handlers: { data(bytes: Uint8Array): void; command(command: ConsoleCommand): void },
  ): Console {
    const console = new Console(input, handlers);
    if (input.isTTY) input.setRawMode?.(true);
    process.on("exit", console.#restore);
    input.on("data", console.#listener);
    input.resume();
    return console;
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.#restore();
    process.off("exit", this.#restore);
    this.#input.off("data", this.#listener);
    this.#input.pause();
    // A pending read of a terminal would hold the process until a key is pressed.
    this.#input.unref?.();
  }
}
