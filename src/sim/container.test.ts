/**
 * The software container against what Linux's type 1 driver does (spec/container.md 1.4), by the
 * ioctls themselves. Wrong inputs first.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { errnoName } from "../abi/errno.ts";
import {
  VFIO_CHECK_EXTENSION,
  VFIO_GET_API_VERSION,
  VFIO_GROUP_GET_DEVICE_FD,
  VFIO_GROUP_SET_CONTAINER,
  VFIO_GROUP_UNSET_CONTAINER,
  VFIO_SET_IOMMU,
} from "../abi/vfio.ts";
import {
  VFIO_IOMMU_DIRTY_PAGES,
  VFIO_IOMMU_GET_INFO,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
  vfio_bitmap,
  vfio_iommu_type1_dirty_bitmap,
  vfio_iommu_type1_dirty_bitmap_get,
  vfio_iommu_type1_dma_map,
  vfio_iommu_type1_dma_unmap,
} from "../abi/vfio-iommu.ts";
import { nativeSyscalls } from "../sys/native.ts";
import { Owner } from "../sys/owner.ts";
import type { Bytes } from "../sys/syscalls.ts";
import { eduSpec } from "./devices/edu.ts";
import type { IommuOptions } from "./dma-table.ts";
import { SoftwareHost } from "./host.ts";

const O_RDWR = 2;
const READ_WRITE = 3;

/** An open group in an open container, its IOMMU type set. */
class Bench implements Disposable {
  readonly host: SoftwareHost;
  readonly container: number;
  readonly group: number;
  readonly #owner = new Owner();

  constructor(type: number, options: Partial<IommuOptions> = {}) {
    this.host = this.#owner.own(new SoftwareHost(nativeSyscalls(), { pins: false, ...options }));
    this.host.addDevice(eduSpec("0000:01:00.0"), 3);
    this.container = this.host.open("/dev/vfio/vfio", O_RDWR);
    this.#owner.defer(() => this.host.close(this.container));
    this.group = this.host.open("/dev/vfio/3", O_RDWR);
    this.#owner.defer(() => this.host.close(this.group));
    this.host.ioctl(this.group, VFIO_GROUP_SET_CONTAINER, new Int32Array([this.container]));
    this.host.ioctl(this.container, VFIO_SET_IOMMU, type);
  }

  /** 0 or more as it is, an errno by name. */
  ioctl(request: number, arg: number | Bytes, fd = this.container): number | string {
    const result = this.host.ioctl(fd, request, arg);
    return result < 0 ? errnoName(-result) : result;
  }

  map(iova: bigint, size: bigint, flags = READ_WRITE, vaddr = 0x7000_0000_0000n) {
    const argsz = vfio_iommu_type1_dma_map.size;
    return this.ioctl(
      VFIO_IOMMU_MAP_DMA,
      vfio_iommu_type1_dma_map.bytes({ argsz, flags, vaddr, iova, size }),
    );
  }

  /** The bytes unmapped, or an errno. */
  unmap(iova: bigint, size: bigint, flags = 0): bigint | string {
    const argsz = vfio_iommu_type1_dma_unmap.size;
    const arg = vfio_iommu_type1_dma_unmap.bytes({ argsz, flags, iova, size });
    const result = this.ioctl(VFIO_IOMMU_UNMAP_DMA, arg);
    return typeof result === "string" ? result : vfio_iommu_type1_dma_unmap.at(arg).size;
  }

  [Symbol.dispose](): void {
    this.#owner[Symbol.dispose]();
  }
}

test("software container: nothing but extensions before a group and a type are set", () => {
  using host = new SoftwareHost(nativeSyscalls());
  const fd = host.open("/dev/vfio/vfio", O_RDWR);
  const answer = (request: number, arg: number | Bytes) => host.ioctl(fd, request, arg);
  assert.equal(answer(VFIO_GET_API_VERSION, 0), 0);
  assert.deepEqual(
    [1, 2, 3, 7, 8].map((type) => answer(VFIO_CHECK_EXTENSION, type)),
    [1, 0, 1, 0, 0],
  );
  assert.equal(errnoName(-answer(VFIO_SET_IOMMU, 3)), "EINVAL");
  assert.equal(errnoName(-answer(VFIO_IOMMU_GET_INFO, new Uint8Array(24))), "EINVAL");
  assert.equal(errnoName(-host.open("/dev/vfio/3", O_RDWR)), "ENOENT");
  host.close(fd);
});

test("software container: MAP refuses what type 1 refuses", () => {
  using bench = new Bench(3, { entryLimit: 2 });
  assert.equal(bench.map(0n, 0n), "EINVAL");
  assert.equal(bench.map(0x800n, 0x1000n), "EINVAL");
  assert.equal(bench.map(0n, 0x800n), "EINVAL");
  assert.equal(bench.map(0n, 0x1000n, READ_WRITE, 0x800n), "EINVAL");
  assert.equal(bench.map(0n, 0x1000n, 0), "EINVAL");
  assert.equal(bench.map(0n, 0x1000n, 8), "EINVAL");
  // Linux 7.3, as the lab's conformance test saw; 6.12 says EINVAL.
  assert.equal(bench.map(0xffff_ffff_ffff_f000n, 0x2000n), "EOVERFLOW");
  assert.equal(bench.map(0xfee0_0000n, 0x1000n), "EINVAL");
  assert.equal(bench.map(0x1000n, 0x2000n), 0);
  assert.equal(bench.map(0x2000n, 0x2000n), "EEXIST");
  assert.equal(bench.map(0x3000n, 0x1000n), 0);
  assert.equal(bench.map(0x4000n, 0x1000n), "ENOSPC");
});

test("software container: an UNMAP of version 2 cuts no mapping", () => {
  using bench = new Bench(3);
  bench.map(0x1000n, 0x3000n);
  bench.map(0x8000n, 0x1000n);
  assert.equal(bench.unmap(0x1000n, 0x1000n), "EINVAL");
  assert.equal(bench.unmap(0x2000n, 0x2000n), "EINVAL");
  assert.equal(bench.unmap(0x1000n, 0n), "EINVAL");
  assert.equal(bench.unmap(0x10n, 0x1000n), "EINVAL");
  assert.equal(bench.unmap(0x10_0000n, 0x1000n), 0n, "nothing there is no error");
  assert.equal(bench.unmap(0n, 0x10000n), 0x4000n, "several at once");
});

test("software container: an UNMAP of version 1 takes whole mappings, or none", () => {
  using bench = new Bench(1);
  bench.map(0x1000n, 0x3000n);
  assert.equal(bench.unmap(0x2000n, 0x1000n), 0n, "it begins inside");
  assert.equal(bench.unmap(0x1000n, 0x1000n), 0x3000n, "it covers the first page");
  assert.equal(bench.ioctl(VFIO_IOMMU_DIRTY_PAGES, new Uint8Array(8)), "EACCES");
});

test("software container: UNMAP with ALL takes everything, and no address", () => {
  using bench = new Bench(3);
  bench.map(0x1000n, 0x3000n);
  assert.equal(bench.unmap(0x1000n, 0n, 2), "EINVAL");
  assert.equal(bench.unmap(0n, 0n, 2), 0x3000n);
});

test("software container: mappings never overlap, and UNMAP returns what MAP took", () => {
  const page = fc.integer({ min: 0, max: 40 }).map((n) => BigInt(n) * 0x1000n);
  const step = fc.record({ map: fc.boolean(), iova: page, size: page });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      using bench = new Bench(3);
      let mapped = 0n;
      for (const { map, iova, size } of steps) {
        if (map) mapped += bench.map(iova, size) === 0 ? size : 0n;
        else {
          const result = bench.unmap(iova, size);
          mapped -= typeof result === "bigint" ? result : 0n;
        }
        const mappings = bench.host.containers[0]!.table!.mappings;
        mappings.forEach((mapping, i) => {
          const next = mappings[i + 1];
          assert(next === undefined || mapping.iova + mapping.size <= next.iova);
        });
      }
      assert.equal(bench.unmap(0n, 0n, 2), mapped);
    }),
    { numRuns: 30 },
  );
});

test("software container: RLIMIT_MEMLOCK counts what is mapped", () => {
  using bench = new Bench(3, { memlock: 0x3000n });
  assert.equal(bench.map(0n, 0x2000n), 0);
  assert.equal(bench.map(0x2000n, 0x2000n), "ENOMEM");
  assert.equal(bench.unmap(0n, 0x2000n), 0x2000n);
  assert.equal(bench.map(0x2000n, 0x3000n), 0);
});

test("software container: the dirty log has every mapped page of the range", () => {
  using bench = new Bench(3);
  bench.map(0x1000n, 0x2000n);
  const bits = new BigUint64Array(1);
  const get = (pgsize: bigint, size: bigint, bitmapSize = 8n) => {
    const head = vfio_iommu_type1_dirty_bitmap.size;
    const arg = new Uint8Array(head + vfio_iommu_type1_dirty_bitmap_get.size);
    arg.set(vfio_iommu_type1_dirty_bitmap.bytes({ argsz: arg.length, flags: 4 }));
    arg.set(vfio_iommu_type1_dirty_bitmap_get.bytes({ iova: 0n, size }), head);
    const data = BigInt(bench.host.addressOf(bits));
    arg.set(vfio_bitmap.bytes({ pgsize, size: bitmapSize, data }), head + 16);
    return bench.ioctl(VFIO_IOMMU_DIRTY_PAGES, arg);
  };
  const switched = (flags: number) =>
    bench.ioctl(VFIO_IOMMU_DIRTY_PAGES, vfio_iommu_type1_dirty_bitmap.bytes({ argsz: 8, flags }));
  assert.equal(get(0x1000n, 0x4000n), "EINVAL", "before it is started");
  assert.equal(switched(3), "EINVAL", "one flag at a time");
  assert.deepEqual([switched(1), switched(1)], [0, 0]);
  assert.equal(get(0x20_0000n, 0x4000n), "EINVAL");
  assert.equal(get(0x1000n, 0x2000n), "EINVAL", "a mapping would be cut");
  assert.equal(get(0x1000n, 0x4000n, 0n), "EINVAL");
  assert.equal(get(0x1000n, 0x4000n), 0);
  assert.equal(bits[0], 0b0110n);
  assert.equal(switched(2), 0);
});

test("software group: one opener, one container, and no way out with a device open", () => {
  using bench = new Bench(3);
  const { host, group } = bench;
  assert.equal(errnoName(-host.open("/dev/vfio/3", O_RDWR)), "EBUSY");
  const again = bench.ioctl(VFIO_GROUP_SET_CONTAINER, new Int32Array([bench.container]), group);
  assert.equal(again, "EINVAL");
  const name = new TextEncoder().encode("0000:01:00.0\0");
  const other = new TextEncoder().encode("0000:01:00.1\0");
  assert.equal(bench.ioctl(VFIO_GROUP_GET_DEVICE_FD, other, group), "ENODEV");
  const device = host.ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name);
  assert(device >= 0);
  assert.equal(bench.ioctl(VFIO_GROUP_UNSET_CONTAINER, 0, group), "EBUSY");
  host.close(device);
  assert.equal(bench.ioctl(VFIO_GROUP_UNSET_CONTAINER, 0, group), 0);
  assert.equal(bench.ioctl(VFIO_GROUP_UNSET_CONTAINER, 0, group), "EINVAL");
  assert.equal(bench.map(0n, 0x1000n), "EINVAL", "the IOMMU went with the last group");
});
