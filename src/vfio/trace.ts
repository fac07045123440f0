/**
 * The trace points of regions, the DMA listener, containers, groups and devices: names and
 * arguments as in QEMU's hw/vfio/trace-events.
 */

import { TracePoint } from "../sys/trace.ts";

export const vfio_region_write = new TracePoint("vfio_region_write", {
  name: "str",
  index: "int",
  addr: "hex",
  data: "hex",
  size: "int",
});
export const vfio_region_read = new TracePoint("vfio_region_read", {
  name: "str",
  index: "int",
  addr: "hex",
  size: "int",
  data: "hex",
});
export const vfio_listener_region_skip = new TracePoint("vfio_listener_region_skip", {
  name: "str",
  start: "hex",
  end: "hex",
});
export const vfio_listener_region_add_ram = new TracePoint("vfio_listener_region_add_ram", {
  iova_start: "hex",
  iova_end: "hex",
  vaddr: "hex",
});
export const vfio_known_safe_misalignment = new TracePoint("vfio_known_safe_misalignment", {
  name: "str",
  iova: "hex",
  offset_within_region: "hex",
  page_size: "hex",
});
export const vfio_listener_region_add_no_dma_map = new TracePoint(
  "vfio_listener_region_add_no_dma_map",
  { name: "str", iova: "hex", size: "hex", page_size: "hex" },
);
export const vfio_listener_region_del = new TracePoint("vfio_listener_region_del", {
  start: "hex",
  end: "hex",
});
export const vfio_disconnect_container = new TracePoint("vfio_disconnect_container", { fd: "int" });
export const vfio_put_group = new TracePoint("vfio_put_group", { fd: "int" });
export const vfio_get_device = new TracePoint("vfio_get_device", {
  name: "str",
  flags: "hex",
  num_regions: "int",
  num_irqs: "int",
});
export const vfio_put_base_device = new TracePoint("vfio_put_base_device", { fd: "int" });
export const vfio_region_setup = new TracePoint("vfio_region_setup", {
  dev: "str",
  index: "int",
  name: "str",
  flags: "hex",
  offset: "hex",
  size: "hex",
});
export const vfio_region_mmap_fault = new TracePoint("vfio_region_mmap_fault", {
  name: "str",
  index: "int",
  offset: "hex",
  size: "hex",
  fault: "int",
});
export const vfio_region_mmap = new TracePoint("vfio_region_mmap", {
  name: "str",
  offset: "hex",
  end: "hex",
});
export const vfio_region_exit = new TracePoint("vfio_region_exit", { name: "str", index: "int" });
export const vfio_region_finalize = new TracePoint("vfio_region_finalize", {
  name: "str",
  index: "int",
});
export const vfio_region_mmaps_set_enabled = new TracePoint("vfio_region_mmaps_set_enabled", {
  name: "str",
  enabled: "bool",
});
export const vfio_region_unmap = new TracePoint("vfio_region_unmap", {
  name: "str",
  offset: "hex",
  end: "hex",
});
export const vfio_region_sparse_mmap_header = new TracePoint("vfio_region_sparse_mmap_header", {
  name: "str",
  index: "int",
  nr_areas: "int",
});
export const vfio_region_sparse_mmap_entry = new TracePoint("vfio_region_sparse_mmap_entry", {
  i: "int",
  start: "hex",
  end: "hex",
});
export const vfio_get_dev_region = new TracePoint("vfio_get_dev_region", {
  name: "str",
  index: "int",
  type: "hex",
  subtype: "hex",
});
export const vfio_get_dirty_bitmap = new TracePoint("vfio_get_dirty_bitmap", {
  fd: "int",
  iova: "hex",
  size: "hex",
  bitmap_size: "hex",
  start: "hex",
  dirty_pages: "int",
});
export const vfio_dma_unmap_overflow_workaround = new TracePoint(
  "vfio_dma_unmap_overflow_workaround",
  {},
);
