/** Types of the QMP client from npm, which has none of its own: as much as the tests use. */

declare module "qemu-qmp" {
  type Callback = (error: Error | null, value: unknown) => void;

  class QMP {
    /** As the greeting has it. */
    readonly version: { readonly qemu: Readonly<Record<"major" | "minor" | "micro", number>> };
    connect(path: string, connected: (error: Error | null) => void): void;
    execute(command: string, callback: Callback): void;
    execute(command: string, args: Readonly<Record<string, unknown>>, callback: Callback): void;
    /** Events by their names in lower case, without data; and those of the socket. */
    on(event: string, listener: (...values: unknown[]) => void): this;
    once(event: string, listener: (...values: unknown[]) => void): this;
    end(): void;
  }

  export default QMP;
}
