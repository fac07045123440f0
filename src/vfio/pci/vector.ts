/**
 * Vector: one MSI or MSI-X vector of the physical device on its way to the guest. Two eventfds: the
 * *user* one ends in this process; the *kvm* one is an irqfd, which KVM turns into the guest's
 * interrupt by itself. Which of the two the device signals is told with `VFIO_DEVICE_SET_IRQS`.
 */

import type { MsiMessage, MsiRoutes } from "../../pci/platform.ts";
import { EventFd } from "../../sys/event-fd.ts";
import type { EventLoop } from "../../sys/event-loop.ts";
import { Owner } from "../../sys/owner.ts";
import type { Syscalls } from "../../sys/syscalls.ts";
import type { Report } from "../report.ts";
import { attempt } from "./interrupts.ts";

export interface VectorHost {
  readonly name: string;
  readonly sys: Syscalls;
  readonly loop: EventLoop;
  readonly report: Report;
  /** Undefined: every interrupt passes through this process. */
  readonly routes: MsiRoutes | undefined;
  requesterId(): number;
}

export class Vector implements Disposable {
  readonly index: number;
  readonly #host: VectorHost;
  readonly #owner: Owner;
  readonly #user: EventFd;
  #gsi: number | undefined;
  #kvm: EventFd | undefined;

  private constructor(host: VectorHost, index: number, user: EventFd, owner: Owner) {
    this.#host = host;
    this.index = index;
    this.#user = user;
    this.#owner = owner;
  }

  /**
   * @param fired runs when the device signalled the user eventfd
   * @throws {SysError} eventfd, epoll_ctl
   */
  static create(host: VectorHost, index: number, fired: () => void): Vector {
    using owner = new Owner();
    const user = owner.own(EventFd.create(host.sys));
    owner.own(
      host.loop.watch(user.fd, () => {
        if (user.drain()) fired();
      }),
    );
    return new Vector(host, index, user, owner.move());
  }

  /** True once KVM delivers the vector. */
  get isRouted(): boolean {
    return this.#kvm !== undefined;
  }

  get userFd(): number {
    return this.#user.fd;
  }

  /** The eventfd to hand to the device: the irqfd when there is one. */
  get fd(): number {
    return this.#kvm?.fd ?? this.#user.fd;
  }

  /** Reserves a route; `connect` makes it live. A full table leaves the vector to this process. */
  addRoute(message: MsiMessage): void {
    const { routes, report, name } = this.#host;
    attempt(report, `${name}: failed to route vector ${this.index}`, () => {
      this.#gsi = routes?.add(message, this.#host.requesterId());
    });
  }

  /** Binds an eventfd to the route; on failure the vector falls back to this process. */
  connect(): void {
    const { routes, sys, report, name } = this.#host;
    const gsi = this.#gsi;
    if (gsi === undefined || this.#kvm || !routes) return;
    const connected = attempt(report, `${name}: vector ${this.index} stays slow`, () => {
      using owner = new Owner();
      const kvm = owner.own(EventFd.create(sys));
      routes.assignIrqfd(gsi, kvm.fd);
      owner.move();
      this.#kvm = kvm;
    });
    if (connected) return;
    routes.release(gsi);
    this.#gsi = undefined;
  }

  updateRoute(message: MsiMessage): void {
    const { routes, report, name } = this.#host;
    const gsi = this.#gsi;
    if (gsi === undefined) return;
    const what = `${name}: failed to update the route of vector ${this.index}`;
    attempt(report, what, () => routes?.update(gsi, message));
  }

  /** Takes KVM's part away, then the process's. Idempotent. */
  [Symbol.dispose](): void {
    const { routes, report, name } = this.#host;
    const gsi = this.#gsi;
    const kvm = this.#kvm;
    this.#gsi = undefined;
    this.#kvm = undefined;
    if (gsi !== undefined) {
      attempt(report, `${name}: failed to release vector ${this.index}`, () => {
        if (kvm) routes?.deassignIrqfd(gsi, kvm.fd);
      });
      attempt(report, `${name}: failed to release vector ${this.index}`, () =>
        routes?.release(gsi),
      );
    }
    kvm?.[Symbol.dispose]();
    this.#owner[Symbol.dispose]();
  }
}

/** Releases many vectors with one update of KVM's table. */
export function disposeVectors(host: VectorHost, vectors: ReadonlyArray<Vector | undefined>): void {
  const disposeAll = () => {
    for (const vector of vectors) vector?.[Symbol.dispose]();
  };
  const { routes, report, name } = host;
  if (routes) attempt(report, `${name}: routes`, () => routes.batch(disposeAll));
  else disposeAll();
}
