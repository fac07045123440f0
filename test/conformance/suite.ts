/** The list of programs, and what runs them: each on a host set up as it asks, left as found. */

import { O_RDWR } from "../../src/abi/fcntl.ts";
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from "../../src/abi/mman.ts";
import {
  VFIO_GROUP_GET_DEVICE_FD,
  VFIO_GROUP_SET_CONTAINER,
  VFIO_SET_IOMMU,
  VFIO_TYPE1_IOMMU,
  VFIO_TYPE1v2_IOMMU,
} from "../../src/abi/vfio.ts";
import { Owner } from "../../src/sys/owner.ts";
import { check } from "../../src/sys/sys-error.ts";
import type { Syscalls } from "../../src/sys/syscalls.ts";
import { containerPrograms } from "./containers.ts";
import { featurePrograms, infoPrograms } from "./device-info.ts";
import { groupPrograms } from "./groups.ts";
import { disarm, interruptPrograms } from "./interrupts.ts";
import { dirtyPrograms, mappingPrograms } from "./mappings.ts";
import { type ConformanceProgram, MEMORY_SIZE, type ProgramHost, type Stage } from "./program.ts";
import { configPrograms, regionPrograms, saveHeader } from "./regions.ts";
import { ioeventfdPrograms, resetPrograms } from "./resets.ts";

/** The devices whose answers are compared. */
export const SUBJECTS = {
  /** INTx and MSI, conventional. */
  edu: { bar: 0, barSize: 0x10_0000 },
  /** MSI-X, PCI Express, resets itself. */
  nvme: { bar: 0, barSize: 0x4000 },
} as const;

export type SubjectName = keyof typeof SUBJECTS;

/** What is asked of the host is asked once, with the first subject; the rest of each device. */
export function conformancePrograms(subject: SubjectName): readonly ConformanceProgram[] {
  const { bar, barSize } = SUBJECTS[subject];
  const host = [...containerPrograms, ...groupPrograms, ...mappingPrograms, ...dirtyPrograms];
  return [
    ...(subject === "edu" ? host : []),
    ...infoPrograms,
    ...featurePrograms,
    ...interruptPrograms,
    ...configPrograms,
    ...regionPrograms(bar, barSize),
    ...ioeventfdPrograms(bar, barSize),
    ...resetPrograms,
  ];
}

/** Where the programs run: a group that is free and viable, and a device of it. */
export interface ConformancePlace {
  readonly subject: SubjectName;
  readonly groupNumber: number;
  readonly deviceName: string;
}

/** @returns a line a program: its name and what was answered */
export function runConformance(sys: Syscalls, place: ConformancePlace): string[] {
  using owner = new Owner();
  const flags = MAP_PRIVATE | MAP_ANONYMOUS;
  const address = check(sys.mmap(0, MEMORY_SIZE, PROT_READ | PROT_WRITE, flags, -1, 0), "mmap");
  owner.defer(() => sys.munmap(address, MEMORY_SIZE));
  const memory = BigInt(address);
  const programs = conformancePrograms(place.subject);
  const lines = new Map<ConformanceProgram, string>();
  for (const program of programs.filter(({ stage }) => stage !== "device")) {
    using stage = new Owner();
    const host = enter(sys, place, memory, program.stage, stage);
    lines.set(program, program.run(host));
  }
  // Opening a device resets it, which takes a while: they share one.
  using opened = new Owner();
  const device = enter(sys, place, memory, "device", opened);
  for (const program of programs.filter(({ stage }) => stage === "device")) {
    using own = new Owner();
    const host = { ...device, owner: own };
    const restore = saveHeader(host);
    lines.set(program, program.run(host));
    disarm(host);
    restore();
  }
  return programs.map((program) => `${program.name}: ${lines.get(program)}`);
}

/** Sets a host up as far as `stage`; `owner` undoes it. */
function enter(
  sys: Syscalls,
  { groupNumber, deviceName }: ConformancePlace,
  memory: bigint,
  stage: Stage,
  owner: Owner,
): ProgramHost {
  const open = (path: string) => {
    const fd = check(sys.open(path, O_RDWR), `open ${path}`);
    owner.defer(() => sys.close(fd));
    return fd;
  };
  const container = open("/dev/vfio/vfio");
  const group = open(`/dev/vfio/${groupNumber}`);
  let device = -1;
  if (stage !== "apart") {
    const arg = new Int32Array([container]);
    check(sys.ioctl(group, VFIO_GROUP_SET_CONTAINER, arg), "SET_CONTAINER");
  }
  if (stage !== "apart" && stage !== "joined") {
    const type = stage === "iommu-v1" ? VFIO_TYPE1_IOMMU : VFIO_TYPE1v2_IOMMU;
    check(sys.ioctl(container, VFIO_SET_IOMMU, type), "SET_IOMMU");
  }
  if (stage === "device") {
    const name = new TextEncoder().encode(`${deviceName}\0`);
    device = check(sys.ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name), "GET_DEVICE_FD");
    const fd = device;
    owner.defer(() => sys.close(fd));
  }
  return { sys, groupNumber, deviceName, container, group, device, memory, owner };
}
