/** Programs of a group: drivers/vfio/group.c. */

import { O_RDWR } from "../../src/abi/fcntl.ts";
import {
  VFIO_DEVICE_GET_INFO,
  VFIO_GROUP_GET_DEVICE_FD,
  VFIO_GROUP_GET_STATUS,
  VFIO_GROUP_SET_CONTAINER,
  VFIO_GROUP_UNSET_CONTAINER,
  VFIO_SET_IOMMU,
  vfio_group_status,
} from "../../src/abi/vfio.ts";
import { check } from "../../src/sys/sys-error.ts";
import {
  answer,
  type ConformanceProgram,
  ioctl,
  makeEventfd,
  type ProgramHost,
  type Stage,
} from "./program.ts";

const STAGES = ["apart", "joined", "iommu"] as const;

function status(argsz: number): (host: ProgramHost) => string {
  return ({ sys, group }) => {
    const arg = vfio_group_status.bytes({ argsz });
    const result = ioctl(sys, group, VFIO_GROUP_GET_STATUS, arg);
    return result === "ok" ? `flags ${vfio_group_status.at(arg).flags}` : result;
  };
}

function join({ sys, group }: ProgramHost, fd: number): string {
  return ioctl(sys, group, VFIO_GROUP_SET_CONTAINER, new Int32Array([fd]));
}

const leave = ({ sys, group }: ProgramHost): string =>
  ioctl(sys, group, VFIO_GROUP_UNSET_CONTAINER, 0);

/** Opens the device of that name; it is closed when the program ends. */
function openDevice({ sys, group, owner }: ProgramHost, name: string): string {
  const bytes = new TextEncoder().encode(`${name}\0`);
  const fd = sys.ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bytes);
  if (fd < 0) return answer(fd);
  owner.defer(() => sys.close(fd));
  return "a descriptor";
}

/** The device's own name, and what is not quite it. */
const NAMES: Readonly<Record<string, (name: string) => string>> = {
  "the device": (name) => name,
  nothing: () => "nothing",
  "the empty name": () => "",
  "another function": (name) => `${name.slice(0, -1)}7`,
  "a short address": (name) => name.slice("0000:".length),
  "the device and a space": (name) => `${name} `,
  "the device and a letter": (name) => `${name}X`,
  "the device and a word": (name) => `${name} word`,
  "the device and a token": (name) => `${name} vf_token=00112233-4455-6677-8899-aabbccddeeff`,
};

const at = (
  stage: Stage,
  name: string,
  run: (host: ProgramHost) => string,
): ConformanceProgram => ({
  name: `${name}, ${stage}`,
  stage,
  run,
});

export const groupPrograms: readonly ConformanceProgram[] = [
  ...STAGES.flatMap((stage) => [
    ...[0, 4, 7, 8, 64].map((argsz) => at(stage, `GET_STATUS of ${argsz} bytes`, status(argsz))),
    ...Object.entries(NAMES).map(([what, name]) =>
      at(stage, `GET_DEVICE_FD of ${what}`, (host) => openDevice(host, name(host.deviceName))),
    ),
    at(stage, "UNSET_CONTAINER", leave),
    at(stage, "UNSET_CONTAINER twice", (host) => `${leave(host)}, ${leave(host)}`),
    at(stage, "SET_CONTAINER to no descriptor", (host) => join(host, -1)),
    at(stage, "SET_CONTAINER to a closed descriptor", (host) => join(host, 9999)),
    at(stage, "SET_CONTAINER to an eventfd", (host) => join(host, makeEventfd(host))),
    at(stage, "SET_CONTAINER to the group itself", (host) => join(host, host.group)),
    at(stage, "SET_CONTAINER", (host) => join(host, host.container)),
    at(stage, "SET_CONTAINER to another container", (host) => {
      const { sys, owner } = host;
      const other = check(sys.open("/dev/vfio/vfio", O_RDWR), "open");
      owner.defer(() => sys.close(other));
      return join(host, other);
    }),
    at(stage, "open of the open group", ({ sys, groupNumber }) =>
      answer(sys.open(`/dev/vfio/${groupNumber}`, O_RDWR)),
    ),
    at(stage, "an ioctl of a device on a group", ({ sys, group }) =>
      ioctl(sys, group, VFIO_DEVICE_GET_INFO, new Uint32Array(6)),
    ),
    at(stage, "an ioctl of a container on a group", ({ sys, group }) =>
      ioctl(sys, group, VFIO_SET_IOMMU, 3),
    ),
    at(stage, "pread of a group", ({ sys, group }) =>
      answer(sys.pread(group, new Uint8Array(4), 0)),
    ),
  ]),
  at("apart", "leaving and joining again", (host) =>
    [join(host, host.container), leave(host), join(host, host.container)].join(", "),
  ),
  at("iommu", "leaving with an IOMMU and joining again", (host) =>
    [
      leave(host),
      join(host, host.container),
      openDevice(host, host.deviceName),
      ioctl(host.sys, host.container, VFIO_SET_IOMMU, 3),
      openDevice(host, host.deviceName),
    ].join(", "),
  ),
  at("device", "UNSET_CONTAINER with the device open", leave),
  at("device", "GET_DEVICE_FD a second time", (host) => openDevice(host, host.deviceName)),
  at("device", "SET_CONTAINER with the device open", (host) => join(host, host.container)),
  at("device", "GET_STATUS with the device open", status(8)),
];
