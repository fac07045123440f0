/** What a client did wrong, or what was refused it: the `error` member of a reply. */

/** Classes of the QEMU Machine Protocol; all but the named ones are generic. */
export type QmpErrorClass = "GenericError" | "CommandNotFound" | "DeviceNotFound";

export class QmpError extends Error {
  override readonly name = "QmpError";
  readonly class: QmpErrorClass;

  constructor(message: string, kind: QmpErrorClass = "GenericError") {
    super(message);
    this.class = kind;
  }
}
