/** Programs of a container alone, and of an IOMMU type: drivers/vfio/container.c. */

import {
  VFIO_CHECK_EXTENSION,
  VFIO_DEVICE_RESET,
  VFIO_GET_API_VERSION,
  VFIO_GROUP_GET_STATUS,
  VFIO_SET_IOMMU,
} from "../../src/abi/vfio.ts";
import {
  VFIO_IOMMU_DIRTY_PAGES,
  VFIO_IOMMU_GET_INFO,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
  vfio_iommu_type1_info,
} from "../../src/abi/vfio-iommu.ts";
import { answer, type ConformanceProgram, hex, ioctl, type Stage } from "./program.ts";

/** The sPAPR types, no-IOMMU mode and nesting are matters of the kernel's configuration. */
const EXTENSIONS = [0, 1, 2, 3, 4, 5, 7, 9, 10, 99, 0xffff];
const TYPES = [0, 1, 2, 3, 4, 5, 7, 9, 99];
const IOMMU_CALLS = {
  GET_INFO: VFIO_IOMMU_GET_INFO,
  MAP_DMA: VFIO_IOMMU_MAP_DMA,
  UNMAP_DMA: VFIO_IOMMU_UNMAP_DMA,
  DIRTY_PAGES: VFIO_IOMMU_DIRTY_PAGES,
};

const onContainer = (
  stage: Stage,
  what: string,
  request: number,
  arg: number | Uint8Array | Uint32Array,
): ConformanceProgram => ({
  name: `${what}, ${stage}`,
  stage,
  run: ({ sys, container }) => ioctl(sys, container, request, arg),
});

export const containerPrograms: readonly ConformanceProgram[] = [
  onContainer("apart", "GET_API_VERSION", VFIO_GET_API_VERSION, 0),
  onContainer("iommu", "GET_API_VERSION", VFIO_GET_API_VERSION, 0),
  ...(["apart", "iommu"] as const).flatMap((stage) =>
    EXTENSIONS.map((extension) =>
      onContainer(stage, `CHECK_EXTENSION ${extension}`, VFIO_CHECK_EXTENSION, extension),
    ),
  ),
  ...(["apart", "joined", "iommu"] as const).flatMap((stage) =>
    TYPES.map((type) => onContainer(stage, `SET_IOMMU ${type}`, VFIO_SET_IOMMU, type)),
  ),
  ...(["apart", "joined"] as const).flatMap((stage) =>
    Object.entries(IOMMU_CALLS).map(([name, request]) =>
      onContainer(stage, name, request, new Uint32Array(16)),
    ),
  ),
  ...(["apart", "joined", "iommu"] as const).flatMap((stage) => [
    onContainer(stage, "an ioctl of a device on a container", VFIO_DEVICE_RESET, 0),
    onContainer(
      stage,
      "an ioctl of a group on a container",
      VFIO_GROUP_GET_STATUS,
      new Uint32Array([8, 0]),
    ),
    onContainer(stage, "an ioctl of another driver on a container", 0xae00, 0),
  ]),
  {
    name: "pread of a container",
    stage: "apart",
    run: ({ sys, container }) => answer(sys.pread(container, new Uint8Array(4), 0)),
  },
  {
    name: "pwrite to a container",
    stage: "apart",
    run: ({ sys, container }) => answer(sys.pwrite(container, new Uint8Array(4), 0)),
  },
  {
    name: "SET_IOMMU 1, then 3",
    stage: "joined",
    run: ({ sys, container }) =>
      [1, 3].map((type) => ioctl(sys, container, VFIO_SET_IOMMU, type)).join(", "),
  },
  ...(["iommu", "iommu-v1"] as const).flatMap((stage) =>
    [0, 8, 15, 16, 20, 24, 256].map(info(stage)),
  ),
];

/** `VFIO_IOMMU_GET_INFO` of a buffer of `argsz` bytes. */
function info(stage: Stage): (argsz: number) => ConformanceProgram {
  return (argsz) => ({
    name: `GET_INFO of ${argsz} bytes, ${stage}`,
    stage,
    run: ({ sys, container }) => {
      const bytes = new Uint8Array(Math.max(argsz, vfio_iommu_type1_info.size));
      const view = vfio_iommu_type1_info.at(bytes);
      view.argsz = argsz;
      const result = ioctl(sys, container, VFIO_IOMMU_GET_INFO, bytes);
      if (result !== "ok") return result;
      const { flags, iova_pgsizes: sizes, cap_offset: caps } = view;
      // Which larger pages there are is the IOMMU's matter.
      const smallest = hex(sizes & -sizes);
      return `argsz ${view.argsz >= argsz}, flags ${flags}, page ${smallest}, caps ${caps > 0}`;
    },
  });
}
