/**
 * linux/vfio_ccw.h: the regions of a subchannel passed through on s390. All of it is as the
 * channel subsystem has it: big-endian bytes, packed.
 */

import { bytes, struct, u32 } from "../layout/struct.ts";

export const ORB_AREA_SIZE = 12;
export const SCSW_AREA_SIZE = 12;
export const IRB_AREA_SIZE = 96;
export const SCHIB_AREA_SIZE = 52;

/** The I/O region (VFIO_CCW_CONFIG_REGION_INDEX): a write starts the channel program. */
export const ccw_io_region = struct(
  "ccw_io_region",
  124,
  {
    orb_area: bytes(ORB_AREA_SIZE),
    scsw_area: bytes(SCSW_AREA_SIZE),
    irb_area: bytes(IRB_AREA_SIZE),
    ret_code: u32,
  },
  { packed: true },
);

/** VFIO_REGION_SUBTYPE_CCW_ASYNC_CMD: halt or clear. */
export const ccw_cmd_region = struct(
  "ccw_cmd_region",
  8,
  { command: u32, ret_code: u32 },
  { packed: true },
);
export const VFIO_CCW_ASYNC_CMD_HSCH = 1 << 0;
export const VFIO_CCW_ASYNC_CMD_CSCH = 1 << 1;

/** VFIO_REGION_SUBTYPE_CCW_SCHIB: the subchannel information block; a read is STORE SUBCHANNEL. */
export const ccw_schib_region = struct(
  "ccw_schib_region",
  52,
  { schib_area: bytes(SCHIB_AREA_SIZE) },
  { packed: true },
);

/** VFIO_REGION_SUBTYPE_CCW_CRW: one channel report word per read, 0 when there is none. */
export const ccw_crw_region = struct("ccw_crw_region", 8, { crw: u32, pad: u32 }, { packed: true });
