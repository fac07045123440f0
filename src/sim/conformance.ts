/**
 * One program of ioctls, right and wrong, and what is answered to each. It runs on any `Syscalls`
 * with a VFIO group: on the software host in the unit tests, on a real kernel in the lab. The
 * answers must be the same, line by line; a difference is a mistake of the software host.
 *
 * For a legacy type 1 container; iommufd's compatible container differs in places.
 */

import { errnoName } from "../abi/errno.ts";
import { O_RDWR } from "../abi/fcntl.ts";
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from "../abi/mman.ts";
import {
  VFIO_CHECK_EXTENSION,
  VFIO_DEVICE_GET_INFO,
  VFIO_DEVICE_GET_IRQ_INFO,
  VFIO_DEVICE_GET_REGION_INFO,
  VFIO_DEVICE_SET_IRQS,
  VFIO_GET_API_VERSION,
  VFIO_GROUP_GET_DEVICE_FD,
  VFIO_GROUP_GET_STATUS,
  VFIO_GROUP_SET_CONTAINER,
  VFIO_GROUP_UNSET_CONTAINER,
  VFIO_SET_IOMMU,
  vfio_device_info,
  vfio_group_status,
  vfio_irq_info,
  vfio_irq_set,
  vfio_region_info,
} from "../abi/vfio.ts";
import {
  VFIO_IOMMU_DIRTY_PAGES,
  VFIO_IOMMU_GET_INFO,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
  vfio_iommu_type1_dirty_bitmap,
  vfio_iommu_type1_dma_map,
  vfio_iommu_type1_dma_unmap,
} from "../abi/vfio-iommu.ts";
import { Owner } from "../sys/owner.ts";
import { check } from "../sys/sys-error.ts";
import type { Bytes, Syscalls } from "../sys/syscalls.ts";

const MEMORY = 0x1_0000;
/** Free on every x86 host: above the first MiB, below the MSI window. */
const BASE = 0x100_0000n;
const MSI_WINDOW = 0xfee0_0000n;

class Program {
  readonly lines: string[] = [];
  readonly sys: Syscalls;
  /** Where DMA maps point: real memory, because a kernel pins it. */
  readonly memory: bigint;

  constructor(sys: Syscalls, memory: number) {
    this.sys = sys;
    this.memory = BigInt(memory);
  }

  /** Records what an ioctl answers: `ok`, a number, or an errno's name. */
  ioctl(what: string, fd: number, request: number, arg: number | Bytes): number {
    return this.note(what, this.sys.ioctl(fd, request, arg));
  }

  note(what: string, result: number): number {
    const answer = result < 0 ? errnoName(-result) : result === 0 ? "ok" : `${result}`;
    this.lines.push(`${what}: ${answer}`);
    return result;
  }

  map(what: string, fd: number, iova: bigint, size: bigint, change: { flags?: number } = {}) {
    const argsz = vfio_iommu_type1_dma_map.size;
    const fields = { argsz, flags: 3, vaddr: this.memory, iova, size, ...change };
    const arg = vfio_iommu_type1_dma_map.bytes(fields);
    this.ioctl(`MAP_DMA ${what}`, fd, VFIO_IOMMU_MAP_DMA, arg);
  }

  unmap(what: string, fd: number, iova: bigint, size: bigint, flags = 0): void {
    const argsz = vfio_iommu_type1_dma_unmap.size;
    const arg = vfio_iommu_type1_dma_unmap.bytes({ argsz, flags, iova, size });
    const result = this.sys.ioctl(fd, VFIO_IOMMU_UNMAP_DMA, arg);
    const unmapped = vfio_iommu_type1_dma_unmap.at(arg).size;
    const answer = result < 0 ? errnoName(-result) : `0x${unmapped.toString(16)} bytes`;
    this.lines.push(`UNMAP_DMA ${what}: ${answer}`);
  }
}

/**
 * Runs the program; the group must be free and viable, and is left so.
 * @param device the name of a device of the group
 * @returns one line an answer
 */
export function conformanceProgram(sys: Syscalls, groupNumber: number, device: string): string[] {
  using owner = new Owner();
  const flags = MAP_PRIVATE | MAP_ANONYMOUS;
  const memory = check(sys.mmap(0, MEMORY, PROT_READ | PROT_WRITE, flags, -1, 0), "mmap");
  owner.defer(() => sys.munmap(memory, MEMORY));
  const open = (path: string) => {
    const fd = check(sys.open(path, O_RDWR), `open ${path}`);
    owner.defer(() => sys.close(fd));
    return fd;
  };
  const program = new Program(sys, memory);
  const container = open("/dev/vfio/vfio");
  const group = open(`/dev/vfio/${groupNumber}`);
  program.note("open of an open group", sys.open(`/dev/vfio/${groupNumber}`, O_RDWR));
  joining(program, container, group, device);
  mapping(program, container);
  deviceCalls(program, group, device);
  program.ioctl("UNSET_CONTAINER", group, VFIO_GROUP_UNSET_CONTAINER, 0);
  program.map("after UNSET_CONTAINER", container, BASE, 0x1000n);
  return program.lines;
}

function joining(program: Program, container: number, group: number, device: string): void {
  const status = (what: string, argsz = vfio_group_status.size) => {
    const arg = vfio_group_status.bytes({ argsz });
    const result = program.ioctl(`GET_STATUS ${what}`, group, VFIO_GROUP_GET_STATUS, arg);
    if (result >= 0) program.lines.push(`  flags ${vfio_group_status.at(arg).flags}`);
  };
  const join = (what: string, fd: number) =>
    program.ioctl(
      `SET_CONTAINER ${what}`.trimEnd(),
      group,
      VFIO_GROUP_SET_CONTAINER,
      new Int32Array([fd]),
    );
  const name = new TextEncoder().encode(`${device}\0`);
  program.ioctl("GET_API_VERSION", container, VFIO_GET_API_VERSION, 0);
  program.ioctl("CHECK_EXTENSION 3", container, VFIO_CHECK_EXTENSION, 3);
  program.ioctl("CHECK_EXTENSION 99", container, VFIO_CHECK_EXTENSION, 99);
  program.ioctl("SET_IOMMU without a group", container, VFIO_SET_IOMMU, 3);
  program.map("without an IOMMU type", container, BASE, 0x1000n);
  program.ioctl("UNSET_CONTAINER without one", group, VFIO_GROUP_UNSET_CONTAINER, 0);
  program.ioctl("GET_DEVICE_FD without one", group, VFIO_GROUP_GET_DEVICE_FD, name);
  status("with a short argsz", 4);
  status("alone");
  join("to no descriptor", -1);
  join("to a group", group);
  join("", container);
  join("again", container);
  status("joined");
  program.ioctl("SET_IOMMU 99", container, VFIO_SET_IOMMU, 99);
  program.ioctl("SET_IOMMU 3", container, VFIO_SET_IOMMU, 3);
  program.ioctl("SET_IOMMU again", container, VFIO_SET_IOMMU, 3);
}

function mapping(program: Program, fd: number): void {
  const short = Uint32Array.of(4, 0, 0, 0, 0, 0, 0, 0);
  program.ioctl("IOMMU_GET_INFO with a short argsz", fd, VFIO_IOMMU_GET_INFO, short);
  program.ioctl("MAP_DMA with a short argsz", fd, VFIO_IOMMU_MAP_DMA, short);
  program.map("of nothing", fd, BASE, 0n);
  program.map("of half a page", fd, BASE, 0x800n);
  program.map("off a page", fd, BASE + 0x800n, 0x1000n);
  program.map("without access", fd, BASE, 0x1000n, { flags: 0 });
  program.map("with an unknown flag", fd, BASE, 0x1000n, { flags: 0x83 });
  program.map("past the end", fd, 0xffff_ffff_ffff_f000n, 0x2000n);
  program.map("of the MSI window", fd, MSI_WINDOW, 0x1000n);
  program.map("of four pages", fd, BASE, 0x4000n);
  program.map("of the same", fd, BASE, 0x4000n);
  program.map("over their end", fd, BASE + 0x3000n, 0x2000n);
  program.map("behind them, read only", fd, BASE + 0x4000n, 0x1000n, { flags: 1 });
  program.unmap("of nothing", fd, BASE, 0n);
  program.unmap("off a page", fd, BASE + 0x800n, 0x1000n);
  program.unmap("of the first page", fd, BASE, 0x1000n);
  program.unmap("of the last page", fd, BASE + 0x3000n, 0x1000n);
  program.unmap("where nothing is", fd, BASE + 0x10_0000n, 0x1000n);
  program.unmap("of both at once", fd, BASE, 0x5000n);
  program.map("of four pages", fd, BASE, 0x4000n);
  program.unmap("of all, with a range", fd, BASE, 0x4000n, 2);
  program.unmap("with an unknown flag", fd, BASE, 0x4000n, 0x80);
  program.unmap("of all", fd, 0n, 0n, 2);
  const dirty = (what: string, flags: number) =>
    program.ioctl(
      `DIRTY_PAGES ${what}`,
      fd,
      VFIO_IOMMU_DIRTY_PAGES,
      vfio_iommu_type1_dirty_bitmap.bytes({ argsz: 8, flags }),
    );
  dirty("START and STOP", 3);
  dirty("START", 1);
  dirty("START again", 1);
  dirty("STOP", 2);
}

function deviceCalls(program: Program, group: number, name: string): void {
  const encoded = (text: string) => new TextEncoder().encode(`${text}\0`);
  const request = VFIO_GROUP_GET_DEVICE_FD;
  program.ioctl("GET_DEVICE_FD of nothing", group, request, encoded("nothing"));
  const fd = check(program.sys.ioctl(group, request, encoded(name)), "GET_DEVICE_FD");
  program.ioctl("UNSET_CONTAINER, device open", group, VFIO_GROUP_UNSET_CONTAINER, 0);
  const info = vfio_device_info.bytes({ argsz: 8 });
  program.ioctl("GET_INFO with a short argsz", fd, VFIO_DEVICE_GET_INFO, info);
  const region = vfio_region_info.bytes({ argsz: vfio_region_info.size, index: 99 });
  program.ioctl("GET_REGION_INFO 99", fd, VFIO_DEVICE_GET_REGION_INFO, region);
  const irq = vfio_irq_info.bytes({ argsz: vfio_irq_info.size, index: 99 });
  program.ioctl("GET_IRQ_INFO 99", fd, VFIO_DEVICE_GET_IRQ_INFO, irq);
  const setIrqs = (what: string, fields: Parameters<typeof vfio_irq_set.bytes>[0]) => {
    const arg = vfio_irq_set.bytes({ argsz: vfio_irq_set.size, ...fields });
    program.ioctl(`SET_IRQS ${what}`, fd, VFIO_DEVICE_SET_IRQS, arg);
  };
  setIrqs("with a short argsz", { argsz: 8, flags: 0x21, count: 1 });
  setIrqs("of index 99", { flags: 0x21, index: 99, count: 1 });
  setIrqs("without data", { flags: 0x20, count: 1 });
  setIrqs("past the end", { flags: 0x21, start: 4096, count: 1 });
  setIrqs("EVENTFD without one", { flags: 0x24, count: 1 });
  setIrqs("TRIGGER of INTx that is off", { flags: 0x21, count: 1 });
  setIrqs("UNMASK of INTx that is off", { flags: 0x11, count: 1 });
  program.sys.close(fd);
}
