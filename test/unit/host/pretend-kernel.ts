/**
 * The kernel's side of sysfs for binding, over a built host: what a write to `driver_override`,
 * `unbind`, `bind`, `drivers_probe`, `sriov_numvfs` does. It can fail the n-th change.
 */

import type { Change, HostWriter } from "../../../src/host/changes.ts";
import type { BuiltHost } from "./built-host.ts";

export class PretendKernel implements HostWriter {
  readonly made: Change[] = [];
  private readonly built: BuiltHost;
  /** Address -> the driver that would take it without an override. */
  private readonly own: ReadonlyMap<string, string>;
  private readonly failAt: number;

  constructor(built: BuiltHost, own: ReadonlyMap<string, string>, failAt = -1) {
    this.built = built;
    this.own = own;
    this.failAt = failAt;
  }

  apply(change: Change): void {
    if (this.made.length === this.failAt) throw Object.assign(new Error("EIO"), { code: "EIO" });
    this.made.push(change);
    if (change.kind === "create") this.built.file(change.path, change.value);
    if (change.kind === "remove") this.built.remove(change.path);
    if (change.kind === "modprobe") {
      this.built.folder(`/sys/bus/pci/drivers/${change.module.replaceAll("_", "-")}`);
    }
    if (change.kind === "write") this.write(change.path, change.value);
  }

  private write(path: string, value: string): void {
    const name = path.split("/").at(-1)!;
    if (name === "driver_override") {
      const address = path.split("/").at(-2)!;
      const file = `${this.built.folderOf(address)}/driver_override`;
      this.built.file(file, value === "" ? "(null)\n" : `${value}\n`);
    }
    if (name === "unbind") this.drive(value, undefined);
    if (name === "bind") this.drive(value, path.split("/").at(-2)!);
    if (name === "drivers_probe" && this.driverOf(value) === undefined) {
      const override = this.text(`${this.built.folderOf(value)}/driver_override`);
      this.drive(value, override === "(null)" ? this.own.get(value) : override);
    }
    if (name === "sriov_numvfs") {
      this.built.file(`${this.built.folderOf(path.split("/").at(-2)!)}/${name}`, value);
    }
  }

  driverOf(address: string): string | undefined {
    return /^DRIVER=(.*)$/m.exec(this.text(`${this.built.folderOf(address)}/uevent`))?.[1];
  }

  private drive(address: string, driver: string | undefined): void {
    const file = `${this.built.folderOf(address)}/uevent`;
    const rest = this.text(file).replace(/^DRIVER=.*\n/, "");
    this.built.file(file, driver === undefined ? rest : `DRIVER=${driver}\n${rest}`);
  }

  private text(path: string): string {
    const entry = this.built.files.get(path);
    return entry?.kind === "file" ? new TextDecoder().decode(entry.bytes).trim() : "";
  }
}
