/**
 * The part of `map-dma.ts` that runs in L1: maps guest RAM for DMA with the product's own classes.
 *
 *     node dist/bench/map-dma-inside.js /dev/vfio/GROUP BYTES
 *
 * Prints what `map-dma.c` prints.
 */

import { O_RDWR } from "../src/abi/fcntl.ts";
import { VFIO_GROUP_SET_CONTAINER, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU } from "../src/abi/vfio.ts";
import { iova } from "../src/memory/address.ts";
import { GuestRam } from "../src/memory/guest-ram.ts";
import { OwnedFd } from "../src/sys/fd.ts";
import { nativeSyscalls } from "../src/sys/native.ts";
import { check } from "../src/sys/sys-error.ts";
import { Type1Space } from "../src/vfio/type1.ts";

/** Above the interrupt window of the IOMMU, so that one mapping takes it all. */
const IOVA = iova(2 ** 32);

const [, , groupPath = "", bytes = ""] = process.argv;
const sys = nativeSyscalls();
const size = Number(bytes);

using container = OwnedFd.open(sys, "/dev/vfio/vfio", O_RDWR);
using group = OwnedFd.open(sys, groupPath, O_RDWR);
const containerFd = new Int32Array([container.fd]);
check(sys.ioctl(group.fd, VFIO_GROUP_SET_CONTAINER, containerFd), "VFIO_GROUP_SET_CONTAINER");
check(sys.ioctl(container.fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "VFIO_SET_IOMMU");
using space = new Type1Space(sys, container, { type: VFIO_TYPE1v2_IOMMU, hostPage: 4096 });
using ram = GuestRam.create(sys, { name: "ram", size, backing: "anonymous" });
const memory = { hva: ram.hva };

function timed(work: () => void): bigint {
  const start = process.hrtime.bigint();
  work();
  return process.hrtime.bigint() - start;
}

const map = () => space.map(IOVA, memory, BigInt(size), { write: true });
const first = timed(map);
const unmap = timed(() => space.unmap(IOVA, BigInt(size)));
const second = timed(map);
process.stdout.write(`${first} ${unmap} ${second}\n`);
