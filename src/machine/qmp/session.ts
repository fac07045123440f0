/**
 * QmpSession: one client's conversation, without its socket. A client gets a greeting, negotiates
 * (`qmp_capabilities`), and may then give commands; each is answered in order, with the client's
 * own `id`, and events come between. Specification: QEMU Machine Protocol
 * (docs/interop/qmp-spec).
 */

import { SysError, ViaductError } from "../../sys/sys-error.ts";
import { isObject, type JsonObject, refuseUnexpected } from "./arguments.ts";
import { runCommand } from "./commands.ts";
import type { ControlledMachine } from "./control.ts";
import { type JsonItem, JsonStream } from "./json-stream.ts";
import { QmpError } from "./qmp-error.ts";
import { VERSION } from "./version.ts";

/** Out-of-band execution, the one capability that QEMU knows, is not offered. */
export const GREETING = { QMP: { version: VERSION, capabilities: [] } };

export class QmpSession {
  readonly #machine: ControlledMachine;
  readonly #send: (message: JsonObject) => void;
  readonly #stream = new JsonStream();
  #negotiated = false;

  /** @param send takes a reply; the greeting is sent at once */
  constructor(machine: ControlledMachine, send: (message: JsonObject) => void) {
    this.#machine = machine;
    this.#send = send;
    send(GREETING);
  }

  /** Whether the client gets events. */
  get negotiated(): boolean {
    return this.#negotiated;
  }

  /** What the client sent, taken apart; `answer` is given each, in order. */
  receive(bytes: Uint8Array): JsonItem[] {
    return this.#stream.feed(bytes);
  }

  /** Does what one message says, and replies. */
  async answer(item: JsonItem): Promise<void> {
    const id = "value" in item && isObject(item.value) ? item.value["id"] : undefined;
    const echo = id === undefined ? {} : { id };
    try {
      if ("error" in item) throw new QmpError(`JSON parse error, ${item.error}`);
      this.#send({ return: await this.#execute(item.value), ...echo });
    } catch (error) {
      this.#send({ error: errorReply(error), ...echo });
    }
  }

  /** @throws {QmpError}, {ViaductError} */
  async #execute(message: unknown): Promise<unknown> {
    const { name, args } = readMessage(message);
    if (this.#negotiated) return runCommand(this.#machine, name, args);
    if (name !== "qmp_capabilities") {
      throw new QmpError(
        "Expecting capabilities negotiation with 'qmp_capabilities'",
        "CommandNotFound",
      );
    }
    negotiate(args);
    this.#negotiated = true;
    return {};
  }
}

interface Message {
  readonly name: string;
  readonly args: JsonObject;
}

/** @throws {QmpError} */
function readMessage(message: unknown): Message {
  if (!isObject(message)) throw new QmpError("QMP input must be a JSON object");
  const known = ["execute", "arguments", "id"];
  const unexpected = Object.keys(message).find((name) => !known.includes(name));
  if (unexpected !== undefined) {
    throw new QmpError(`QMP input member '${unexpected}' is unexpected`);
  }
  const { execute: name, arguments: args = {} } = message;
  if (name === undefined) throw new QmpError("QMP input lacks member 'execute'");
  if (typeof name !== "string") throw new QmpError("QMP input member 'execute' must be a string");
  if (!isObject(args)) throw new QmpError("QMP input member 'arguments' must be an object");
  return { name, args };
}

/** @throws {QmpError} */
function negotiate(args: JsonObject): void {
  refuseUnexpected(args, ["enable"]);
  const { enable = [] } = args;
  if (!Array.isArray(enable)) {
    throw new QmpError("Invalid parameter type for 'enable', expected: array");
  }
  if (enable.length > 0) {
    throw new QmpError(`Capability '${String(enable[0])}' is not offered`);
  }
}

/** A refusal's next step is part of what a person reads. */
function errorReply(error: unknown): JsonObject {
  if (error instanceof QmpError) return { class: error.class, desc: error.message };
  if (error instanceof ViaductError) {
    return { class: "GenericError", desc: error.message, hint: error.nextStep };
  }
  if (error instanceof SysError) return { class: "GenericError", desc: error.message };
  throw error;
}
