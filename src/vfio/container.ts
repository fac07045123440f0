/**
 * Container: the I/O address space a set of groups shares (`/dev/vfio/vfio`), and the listener that
 * fills it from guest memory. Connecting follows the numbered steps of spec/container.md section 4,
 * leaving those of section 8.
 */

import { O_RDWR } from "../abi/fcntl.ts";
import {
  VFIO_API_VERSION,
  VFIO_CHECK_EXTENSION,
  VFIO_GET_API_VERSION,
  VFIO_GROUP_SET_CONTAINER,
  VFIO_GROUP_UNSET_CONTAINER,
  VFIO_SET_IOMMU,
  VFIO_SPAPR_TCE_IOMMU,
  VFIO_SPAPR_TCE_v2_IOMMU,
  VFIO_TYPE1_IOMMU,
  VFIO_TYPE1v2_IOMMU,
} from "../abi/vfio.ts";
import type { AddressSpace } from "../memory/address-space.ts";
import { errnoText } from "../sys/errno-text.ts";
import { OwnedFd } from "../sys/fd.ts";
import { Owner } from "../sys/owner.ts";
import { check, errnoOf, SysError, ViaductError } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { DmaListener } from "./dma-listener.ts";
import { type AddressSpaceRecord, remove, type VfioState } from "./state.ts";
import * as trace from "./trace.ts";
import { Type1Space } from "./type1.ts";

export const CONTAINER_PATH = "/dev/vfio/vfio";

/** In order of preference. */
const IOMMU_TYPES = [
  VFIO_TYPE1v2_IOMMU,
  VFIO_TYPE1_IOMMU,
  VFIO_SPAPR_TCE_v2_IOMMU,
  VFIO_SPAPR_TCE_IOMMU,
];

/** What a container knows of a group that joined it. */
interface Member {
  readonly number: number;
  readonly fd: number;
  /** Keeps guest RAM from being discarded. */
  readonly discardDisable: Disposable;
}

export class Container {
  readonly space: Type1Space;
  readonly listener: DmaListener;
  readonly #state: VfioState;
  readonly #fd: OwnedFd;
  readonly #record: AddressSpaceRecord;
  /** Newest first. */
  readonly #members: Member[] = [];
  #listening: Disposable | undefined;

  private constructor(
    state: VfioState,
    fd: OwnedFd,
    record: AddressSpaceRecord,
    space: Type1Space,
  ) {
    this.#state = state;
    this.#fd = fd;
    this.#record = record;
    this.space = space;
    this.listener = new DmaListener(state.sys, space, {
      addressSpace: record.addressSpace,
      hostPage: state.hostPage,
      report: state.report,
      onFatal: state.onFatal,
    });
  }

  /**
   * Connects a group to a container of `addressSpace`: one that is there and takes it, or a new one.
   * @param groupFd borrowed; after `leave()` the caller closes it
   * @throws {ViaductError} VFIO_MISSING, NO_PERMISSION, IOMMU_REFUSED; the first error of mapping
   */
  static connect(
    state: VfioState,
    groupFd: number,
    groupNumber: number,
    addressSpace: AddressSpace,
  ): Container {
    using owner = new Owner();
    const record = state.record(addressSpace); // Step 1.
    owner.defer(() => state.dropIfEmpty(record));
    for (const container of record.containers) {
      if (container.#takeIn(groupFd, groupNumber)) {
        owner.move();
        return container;
      }
    }
    const container = Container.#open(state, record, { groupFd, groupNumber }, owner);
    owner.move();
    return container;
  }

  get fd(): number {
    return this.#fd.fd;
  }

  get addressSpace(): AddressSpace {
    return this.#record.addressSpace;
  }

  /** Numbers of the groups in it, newest first. */
  get groupNumbers(): number[] {
    return this.#members.map(({ number }) => number);
  }

  /** The group's devices tolerate discarded RAM: releases the group's hold on it. Idempotent. */
  allowDiscards(groupNumber: number): void {
    const member = this.#members.find(({ number }) => number === groupNumber);
    member?.discardDisable[Symbol.dispose]();
  }

  /**
   * Takes a group out; with the last one the container ends. The listener goes before
   * UNSET_CONTAINER, because that destroys the mappings under it.
   */
  leave(group: { readonly number: number; readonly fd: number }): void {
    const member = this.#members.find(({ number }) => number === group.number);
    if (!member) return;
    member.discardDisable[Symbol.dispose]();
    this.#state.kvmDevice?.removeGroup(group.fd);
    remove(this.#members, member);
    const last = this.#members.length === 0;
    if (last) this.#stopListening();
    unsetContainer(this.#state, group.fd, group.number);
    if (!last) return;
    this.space[Symbol.dispose]();
    trace.vfio_disconnect_container.emit({ fd: this.fd });
    this.#fd[Symbol.dispose]();
    remove(this.#record.containers, this);
    this.#state.dropIfEmpty(this.#record);
  }

  /** Steps 3 to 13. `owner` undoes them, in the order that leaving has. */
  static #open(
    state: VfioState,
    record: AddressSpaceRecord,
    group: { groupFd: number; groupNumber: number },
    owner: Owner,
  ): Container {
    const { groupFd, groupNumber } = group;
    const fd = owner.own(openContainer(state.sys)); // Step 3.
    const type = setIommu(state, fd.fd, group, owner); // Steps 4 and 5.
    const discardDisable = owner.own(disableDiscards(state)); // Step 7.
    const space = owner.own(openSpace(state, fd, type)); // Step 8.
    const container = new Container(state, fd, record, space);
    owner.defer(() => container.#stopListening());
    state.kvmDevice?.addGroup(groupFd); // Step 9.
    owner.defer(() => state.kvmDevice?.removeGroup(groupFd));
    record.containers.unshift(container); // Step 10.
    owner.defer(() => remove(record.containers, container));
    container.#members.unshift({ number: groupNumber, fd: groupFd, discardDisable });
    container.#listening = record.addressSpace.listen(container.listener); // Step 11.
    if (container.listener.firstError) throw container.listener.firstError; // Step 12.
    container.listener.initialized = true; // Step 13.
    return container;
  }

  /** Step 2: a container that is there; its mappings already apply. */
  #takeIn(groupFd: number, number: number): boolean {
    const state = this.#state;
    if (state.sys.ioctl(groupFd, VFIO_GROUP_SET_CONTAINER, new Int32Array([this.fd])) < 0) {
      return false;
    }
    let discardDisable: Disposable;
    try {
      discardDisable = disableDiscards(state);
    } catch (error) {
      unsetContainer(state, groupFd, number);
      throw error;
    }
    this.#members.unshift({ number, fd: groupFd, discardDisable });
    state.kvmDevice?.addGroup(groupFd);
    return true;
  }

  #stopListening(): void {
    this.#listening?.[Symbol.dispose]();
    this.#listening = undefined;
  }
}

function openContainer(sys: Syscalls): OwnedFd {
  using owner = new Owner();
  let fd: OwnedFd;
  try {
    fd = owner.own(OwnedFd.open(sys, CONTAINER_PATH, O_RDWR));
  } catch (cause) {
    const denied = ["EACCES", "EPERM"].includes(errnoOf(cause) ?? "");
    throw new ViaductError(
      denied ? "NO_PERMISSION" : "VFIO_MISSING",
      `failed to open ${CONTAINER_PATH}: ${errnoText(cause)}`,
      {
        cause,
        nextStep: denied
          ? `Run as root, or give this user the node: chmod 666 ${CONTAINER_PATH}`
          : "Load the driver: modprobe vfio vfio_iommu_type1",
      },
    );
  }
  const version = sys.ioctl(fd.fd, VFIO_GET_API_VERSION, 0);
  if (version < 0) {
    const cause = new SysError(-version, "VFIO_GET_API_VERSION");
    const text = `failed to ask ${CONTAINER_PATH} for its version: ${errnoText(cause)}`;
    throw new ViaductError("VFIO_MISSING", text, { cause });
  }
  if (version !== VFIO_API_VERSION) {
    throw new ViaductError(
      "VFIO_MISSING",
      `supported vfio version: ${VFIO_API_VERSION}, reported version: ${version}`,
      { nextStep: "This program does not know this kernel's VFIO: a newer Viaduct is needed." },
    );
  }
  owner.move();
  return fd;
}

/** Joins the group and sets the IOMMU type; answers the type. */
function setIommu(
  state: VfioState,
  fd: number,
  group: { groupFd: number; groupNumber: number },
  owner: Owner,
): number {
  const { sys } = state;
  let type = IOMMU_TYPES.find((wanted) => sys.ioctl(fd, VFIO_CHECK_EXTENSION, wanted) > 0);
  if (type === undefined) {
    throw new ViaductError("IOMMU_REFUSED", "No available IOMMU models", {
      nextStep: "Load the type 1 driver: modprobe vfio_iommu_type1",
    });
  }
  const { groupFd, groupNumber } = group;
  refuse(
    `failed to set group ${groupNumber} container`,
    sys.ioctl(groupFd, VFIO_GROUP_SET_CONTAINER, new Int32Array([fd])),
    "VFIO_GROUP_SET_CONTAINER",
  );
  owner.defer(() => unsetContainer(state, groupFd, groupNumber));
  let result = sys.ioctl(fd, VFIO_SET_IOMMU, type);
  if (result < 0 && type === VFIO_SPAPR_TCE_v2_IOMMU) {
    // CHECK_EXTENSION cannot tell before a group is there.
    type = VFIO_SPAPR_TCE_IOMMU;
    result = sys.ioctl(fd, VFIO_SET_IOMMU, type);
  }
  refuse("Failed to set iommu for container", result, `VFIO_SET_IOMMU ${type}`);
  return type;
}

function refuse(message: string, result: number, what: string): void {
  try {
    check(result, what);
  } catch (cause) {
    const nextStep =
      errnoOf(cause) === "EPERM"
        ? "The host may lack interrupt remapping: look for 'allow_unsafe_interrupts' in dmesg."
        : "Look in dmesg for lines of vfio and of the IOMMU.";
    const text = `${message}: ${errnoText(cause)}`;
    throw new ViaductError("IOMMU_REFUSED", text, { cause, nextStep });
  }
}

function openSpace(state: VfioState, fd: OwnedFd, type: number): Type1Space {
  if (type !== VFIO_TYPE1v2_IOMMU && type !== VFIO_TYPE1_IOMMU) {
    throw new ViaductError("IOMMU_REFUSED", `IOMMU type ${type} (sPAPR TCE) has no driver here`);
  }
  try {
    return new Type1Space(state.sys, fd, { type, hostPage: state.hostPage });
  } catch (cause) {
    const text = `failed to get IOMMU info of the container: ${errnoText(cause)}`;
    throw new ViaductError("IOMMU_REFUSED", text, { cause });
  }
}

function disableDiscards(state: VfioState): Disposable {
  try {
    return state.discards.request("disableUncoordinated");
  } catch (cause) {
    throw new ViaductError("IOMMU_REFUSED", "Cannot set discarding of RAM broken", {
      cause,
      nextStep: "Remove what needs to discard guest RAM from the machine.",
    });
  }
}

function unsetContainer(state: VfioState, groupFd: number, number: number): void {
  const result = state.sys.ioctl(groupFd, VFIO_GROUP_UNSET_CONTAINER, 0);
  if (result >= 0) return;
  const why = errnoText(new SysError(-result, "VFIO_GROUP_UNSET_CONTAINER"));
  state.report(`error disconnecting group ${number} from container: ${why}`);
}
