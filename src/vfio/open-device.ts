/**
 * From a host address to an attached device (spec/pci.md section 2, steps 1 to 6): the first file
 * to read of the life cycle. Everything acquired is given back when a step fails.
 */

import type { AddressSpace } from "../memory/address-space.ts";
import { Owner } from "../sys/owner.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { Group } from "./group.ts";
import { findHostNode, type HostAddress, type HostNode } from "./host-node.ts";
import type { KernelDevice } from "./kernel-device.ts";
import type { VfioState } from "./state.ts";

export interface AttachRequest {
  /** Secret shared with the user of the physical function (`vf-token`). */
  readonly vfToken?: string;
  /** `x-balloon-allowed`: only for mediated devices. */
  readonly balloonAllowed?: boolean;
}

export interface OpenKernelDeviceRequest extends HostAddress, AttachRequest {}

export interface AttachedDevice {
  /** The owner of everything: disposing it closes the device and leaves the group. */
  readonly device: KernelDevice;
  readonly node: HostNode;
  readonly group: Group;
}

/**
 * Opens a device for DMA into `addressSpace`, through its group and a container.
 * @throws {ViaductError} whose message begins with `vfio <name>: `; nothing is held then
 */
export function openKernelDevice(
  state: VfioState,
  addressSpace: AddressSpace,
  request: OpenKernelDeviceRequest,
): AttachedDevice {
  const node = findHostNode(request, state.tree);
  return attachKernelDevice(state, addressSpace, node, request);
}

/** The same for a device that was found before. @throws {ViaductError} as `openKernelDevice` */
export function attachKernelDevice(
  state: VfioState,
  addressSpace: AddressSpace,
  node: HostNode,
  request: AttachRequest,
): AttachedDevice {
  try {
    return attach(state, addressSpace, request, node);
  } catch (error) {
    if (!(error instanceof ViaductError)) throw error;
    const { code, message, cause, nextStep } = error;
    throw new ViaductError(code, `vfio ${node.name}: ${message}`, {
      cause,
      nextStep,
    });
  }
}

function attach(
  state: VfioState,
  addressSpace: AddressSpace,
  request: AttachRequest,
  node: HostNode,
): AttachedDevice {
  const { vfToken, balloonAllowed = false } = request;
  if (balloonAllowed && !node.isMediated) {
    throw new ViaductError(
      "PROPERTY",
      "x-balloon-allowed only potentially compatible with mdev devices",
    );
  }
  using owner = new Owner();
  const group = Group.get(state, node.groupNumber, addressSpace);
  owner.defer(() => group.release());
  const device = group.openDevice(node.name, {
    discardAllowed: balloonAllowed,
    ...(vfToken !== undefined && { vfToken }),
  });
  owner.move();
  return { device, node, group };
}
