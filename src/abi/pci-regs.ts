/**
 * linux/pci_regs.h, first part: configuration space header and the capabilities of conventional
 * PCI. Offsets in bytes, then the bits of that register. PCI is little-endian on every host. The
 * PCI Express capability is in `pci-express-regs.ts`, extended capabilities are in
 * `pci-ext-regs.ts`. Left out: CardBus, AGP, HyperTransport, CompactPCI hot swap.
 */

// Sizes: conventional and PCI Express configuration space, the header.
export const PCI_CFG_SPACE_SIZE = 256;
export const PCI_CFG_SPACE_EXP_SIZE = 4096;
export const PCI_STD_HEADER_SIZEOF = 64;
export const PCI_STD_NUM_BARS = 6;

// Header, both types (PCI 3.0, 6.1).
export const PCI_VENDOR_ID = 0x00;
export const PCI_DEVICE_ID = 0x02;

// Command.
export const PCI_COMMAND = 0x04;
export const PCI_COMMAND_IO = 0x1;
export const PCI_COMMAND_MEMORY = 0x2;
export const PCI_COMMAND_MASTER = 0x4;
export const PCI_COMMAND_SPECIAL = 0x8;
export const PCI_COMMAND_INVALIDATE = 0x10;
export const PCI_COMMAND_VGA_PALETTE = 0x20;
export const PCI_COMMAND_PARITY = 0x40;
export const PCI_COMMAND_WAIT = 0x80;
export const PCI_COMMAND_SERR = 0x100;
export const PCI_COMMAND_FAST_BACK = 0x200;
export const PCI_COMMAND_INTX_DISABLE = 0x400;

// Status. The error bits are cleared by writing 1.
export const PCI_STATUS = 0x06;
export const PCI_STATUS_IMM_READY = 0x01;
export const PCI_STATUS_INTERRUPT = 0x08;
export const PCI_STATUS_CAP_LIST = 0x10;
export const PCI_STATUS_66MHZ = 0x20;
export const PCI_STATUS_UDF = 0x40;
export const PCI_STATUS_FAST_BACK = 0x80;
export const PCI_STATUS_PARITY = 0x100;
export const PCI_STATUS_DEVSEL_MASK = 0x600;
export const PCI_STATUS_DEVSEL_FAST = 0x000;
export const PCI_STATUS_DEVSEL_MEDIUM = 0x200;
export const PCI_STATUS_DEVSEL_SLOW = 0x400;
export const PCI_STATUS_SIG_TARGET_ABORT = 0x800;
export const PCI_STATUS_REC_TARGET_ABORT = 0x1000;
export const PCI_STATUS_REC_MASTER_ABORT = 0x2000;
export const PCI_STATUS_SIG_SYSTEM_ERROR = 0x4000;
export const PCI_STATUS_DETECTED_PARITY = 0x8000;

// Class, type and self test.
export const PCI_CLASS_REVISION = 0x08;
export const PCI_REVISION_ID = 0x08;
export const PCI_CLASS_PROG = 0x09;
export const PCI_CLASS_DEVICE = 0x0a;
export const PCI_CACHE_LINE_SIZE = 0x0c;
export const PCI_LATENCY_TIMER = 0x0d;
export const PCI_HEADER_TYPE = 0x0e;
export const PCI_HEADER_TYPE_MASK = 0x7f;
export const PCI_HEADER_TYPE_NORMAL = 0;
export const PCI_HEADER_TYPE_BRIDGE = 1;
export const PCI_HEADER_TYPE_CARDBUS = 2;
export const PCI_HEADER_TYPE_MFD = 0x80;
export const PCI_BIST = 0x0f;
export const PCI_BIST_CODE_MASK = 0x0f;
export const PCI_BIST_START = 0x40;
export const PCI_BIST_CAPABLE = 0x80;

// Base address registers.
export const PCI_BASE_ADDRESS_0 = 0x10;
export const PCI_BASE_ADDRESS_1 = 0x14;
export const PCI_BASE_ADDRESS_2 = 0x18;
export const PCI_BASE_ADDRESS_3 = 0x1c;
export const PCI_BASE_ADDRESS_4 = 0x20;
export const PCI_BASE_ADDRESS_5 = 0x24;
export const PCI_BASE_ADDRESS_SPACE = 0x01;
export const PCI_BASE_ADDRESS_SPACE_IO = 0x01;
export const PCI_BASE_ADDRESS_SPACE_MEMORY = 0x00;
export const PCI_BASE_ADDRESS_MEM_TYPE_MASK = 0x06;
export const PCI_BASE_ADDRESS_MEM_TYPE_32 = 0x00;
export const PCI_BASE_ADDRESS_MEM_TYPE_1M = 0x02;
export const PCI_BASE_ADDRESS_MEM_TYPE_64 = 0x04;
export const PCI_BASE_ADDRESS_MEM_PREFETCH = 0x08;
export const PCI_BASE_ADDRESS_MEM_MASK = 0xfffffff0;
export const PCI_BASE_ADDRESS_IO_MASK = 0xfffffffc;

// Header type 0: a function.
export const PCI_CARDBUS_CIS = 0x28;
export const PCI_SUBSYSTEM_VENDOR_ID = 0x2c;
export const PCI_SUBSYSTEM_ID = 0x2e;
export const PCI_ROM_ADDRESS = 0x30;
export const PCI_ROM_ADDRESS_ENABLE = 0x01;
export const PCI_ROM_ADDRESS_MASK = 0xfffff800;
export const PCI_CAPABILITY_LIST = 0x34;
export const PCI_INTERRUPT_LINE = 0x3c;
export const PCI_INTERRUPT_PIN = 0x3d;
export const PCI_MIN_GNT = 0x3e;
export const PCI_MAX_LAT = 0x3f;

// Header type 1: a PCI-to-PCI bridge.
export const PCI_PRIMARY_BUS = 0x18;
export const PCI_SECONDARY_BUS = 0x19;
export const PCI_SUBORDINATE_BUS = 0x1a;
export const PCI_SEC_LATENCY_TIMER = 0x1b;
export const PCI_PRIMARY_BUS_MASK = 0x000000ff;
export const PCI_SECONDARY_BUS_MASK = 0x0000ff00;
export const PCI_SUBORDINATE_BUS_MASK = 0x00ff0000;
export const PCI_SEC_LATENCY_TIMER_MASK = 0xff000000;
export const PCI_IO_BASE = 0x1c;
export const PCI_IO_LIMIT = 0x1d;
export const PCI_IO_RANGE_TYPE_MASK = 0x0f;
export const PCI_IO_RANGE_TYPE_16 = 0x00;
export const PCI_IO_RANGE_TYPE_32 = 0x01;
export const PCI_IO_RANGE_MASK = 0xfffffff0;
export const PCI_IO_1K_RANGE_MASK = 0xfffffffc;
export const PCI_SEC_STATUS = 0x1e;
export const PCI_MEMORY_BASE = 0x20;
export const PCI_MEMORY_LIMIT = 0x22;
export const PCI_MEMORY_RANGE_TYPE_MASK = 0x0f;
export const PCI_MEMORY_RANGE_MASK = 0xfffffff0;
export const PCI_PREF_MEMORY_BASE = 0x24;
export const PCI_PREF_MEMORY_LIMIT = 0x26;
export const PCI_PREF_RANGE_TYPE_MASK = 0x0f;
export const PCI_PREF_RANGE_TYPE_32 = 0x00;
export const PCI_PREF_RANGE_TYPE_64 = 0x01;
export const PCI_PREF_RANGE_MASK = 0xfffffff0;
export const PCI_PREF_BASE_UPPER32 = 0x28;
export const PCI_PREF_LIMIT_UPPER32 = 0x2c;
export const PCI_IO_BASE_UPPER16 = 0x30;
export const PCI_IO_LIMIT_UPPER16 = 0x32;
export const PCI_ROM_ADDRESS1 = 0x38;

// Bridge control.
export const PCI_BRIDGE_CONTROL = 0x3e;
export const PCI_BRIDGE_CTL_PARITY = 0x01;
export const PCI_BRIDGE_CTL_SERR = 0x02;
export const PCI_BRIDGE_CTL_ISA = 0x04;
export const PCI_BRIDGE_CTL_VGA = 0x08;
export const PCI_BRIDGE_CTL_MASTER_ABORT = 0x20;
export const PCI_BRIDGE_CTL_BUS_RESET = 0x40;
export const PCI_BRIDGE_CTL_FAST_BACK = 0x80;

// Capabilities: one id byte, one byte of the next offset.
export const PCI_CAP_ID_MASK = 0x00ff;
export const PCI_CAP_LIST_NEXT_MASK = 0xff00;
export const PCI_CAP_LIST_ID = 0;
export const PCI_CAP_ID_PM = 0x01;
export const PCI_CAP_ID_AGP = 0x02;
export const PCI_CAP_ID_VPD = 0x03;
export const PCI_CAP_ID_SLOTID = 0x04;
export const PCI_CAP_ID_MSI = 0x05;
export const PCI_CAP_ID_CHSWP = 0x06;
export const PCI_CAP_ID_PCIX = 0x07;
export const PCI_CAP_ID_HT = 0x08;
export const PCI_CAP_ID_VNDR = 0x09;
export const PCI_CAP_ID_DBG = 0x0a;
export const PCI_CAP_ID_CCRC = 0x0b;
export const PCI_CAP_ID_SHPC = 0x0c;
export const PCI_CAP_ID_SSVID = 0x0d;
export const PCI_CAP_ID_AGP3 = 0x0e;
export const PCI_CAP_ID_SECDEV = 0x0f;
export const PCI_CAP_ID_EXP = 0x10;
export const PCI_CAP_ID_MSIX = 0x11;
export const PCI_CAP_ID_SATA = 0x12;
export const PCI_CAP_ID_AF = 0x13;
export const PCI_CAP_ID_EA = 0x14;
export const PCI_CAP_ID_MAX = PCI_CAP_ID_EA;
export const PCI_CAP_LIST_NEXT = 1;
export const PCI_CAP_FLAGS = 2;
export const PCI_CAP_SIZEOF = 4;

// Power management.
export const PCI_PM_PMC = 2;
export const PCI_PM_CAP_VER_MASK = 0x0007;
export const PCI_PM_CAP_PME_CLOCK = 0x0008;
export const PCI_PM_CAP_RESERVED = 0x0010;
export const PCI_PM_CAP_DSI = 0x0020;
export const PCI_PM_CAP_AUX_POWER = 0x01c0;
export const PCI_PM_CAP_D1 = 0x0200;
export const PCI_PM_CAP_D2 = 0x0400;
export const PCI_PM_CAP_PME = 0x0800;
export const PCI_PM_CAP_PME_MASK = 0xf800;
export const PCI_PM_CAP_PME_D0 = 0x0800;
export const PCI_PM_CAP_PME_D1 = 0x1000;
export const PCI_PM_CAP_PME_D2 = 0x2000;
export const PCI_PM_CAP_PME_D3hot = 0x4000;
export const PCI_PM_CAP_PME_D3cold = 0x8000;
export const PCI_PM_CAP_PME_SHIFT = 11;
export const PCI_PM_CTRL = 4;
export const PCI_PM_CTRL_STATE_MASK = 0x0003;
export const PCI_PM_CTRL_NO_SOFT_RESET = 0x0008;
export const PCI_PM_CTRL_PME_ENABLE = 0x0100;
export const PCI_PM_CTRL_DATA_SEL_MASK = 0x1e00;
export const PCI_PM_CTRL_DATA_SCALE_MASK = 0x6000;
export const PCI_PM_CTRL_PME_STATUS = 0x8000;
export const PCI_PM_PPB_EXTENSIONS = 6;
export const PCI_PM_PPB_B2_B3 = 0x40;
export const PCI_PM_BPCC_ENABLE = 0x80;
export const PCI_PM_DATA_REGISTER = 7;
export const PCI_PM_SIZEOF = 8;

// AGP: only its size, so that it can be stepped over.
export const PCI_AGP_SIZEOF = 12;

// Vital product data.
export const PCI_VPD_ADDR = 2;
export const PCI_VPD_ADDR_MASK = 0x7fff;
export const PCI_VPD_ADDR_F = 0x8000;
export const PCI_VPD_DATA = 4;
export const PCI_CAP_VPD_SIZEOF = 8;

// Slot identification.
export const PCI_SID_ESR = 2;
export const PCI_SID_ESR_NSLOTS = 0x1f;
export const PCI_SID_ESR_FIC = 0x20;
export const PCI_SID_CHASSIS_NR = 3;

// MSI. With 64-bit addresses everything behind the address moves up.
export const PCI_MSI_FLAGS = 0x02;
export const PCI_MSI_FLAGS_ENABLE = 0x0001;
export const PCI_MSI_FLAGS_QMASK = 0x000e;
export const PCI_MSI_FLAGS_QSIZE = 0x0070;
export const PCI_MSI_FLAGS_64BIT = 0x0080;
export const PCI_MSI_FLAGS_MASKBIT = 0x0100;
export const PCI_MSI_RFU = 3;
export const PCI_MSI_ADDRESS_LO = 0x04;
export const PCI_MSI_ADDRESS_HI = 0x08;
export const PCI_MSI_DATA_32 = 0x08;
export const PCI_MSI_MASK_32 = 0x0c;
export const PCI_MSI_PENDING_32 = 0x10;
export const PCI_MSI_DATA_64 = 0x0c;
export const PCI_MSI_MASK_64 = 0x10;
export const PCI_MSI_PENDING_64 = 0x14;

// MSI-X, and an entry of its table.
export const PCI_MSIX_FLAGS = 2;
export const PCI_MSIX_FLAGS_QSIZE = 0x07ff;
export const PCI_MSIX_FLAGS_MASKALL = 0x4000;
export const PCI_MSIX_FLAGS_ENABLE = 0x8000;
export const PCI_MSIX_TABLE = 4;
export const PCI_MSIX_TABLE_BIR = 0x00000007;
export const PCI_MSIX_TABLE_OFFSET = 0xfffffff8;
export const PCI_MSIX_PBA = 8;
export const PCI_MSIX_PBA_BIR = 0x00000007;
export const PCI_MSIX_PBA_OFFSET = 0xfffffff8;
export const PCI_MSIX_FLAGS_BIRMASK = PCI_MSIX_PBA_BIR;
export const PCI_CAP_MSIX_SIZEOF = 12;
export const PCI_MSIX_ENTRY_SIZE = 16;
export const PCI_MSIX_ENTRY_LOWER_ADDR = 0x0;
export const PCI_MSIX_ENTRY_UPPER_ADDR = 0x4;
export const PCI_MSIX_ENTRY_DATA = 0x8;
export const PCI_MSIX_ENTRY_VECTOR_CTRL = 0xc;
export const PCI_MSIX_ENTRY_CTRL_MASKBIT = 0x00000001;
export const PCI_MSIX_ENTRY_CTRL_ST = 0xffff0000;

// Advanced features of conventional PCI: function level reset.
export const PCI_AF_LENGTH = 2;
export const PCI_AF_CAP = 3;
export const PCI_AF_CAP_TP = 0x01;
export const PCI_AF_CAP_FLR = 0x02;
export const PCI_AF_CTRL = 4;
export const PCI_AF_CTRL_FLR = 0x01;
export const PCI_AF_STATUS = 5;
export const PCI_AF_STATUS_TP = 0x01;
export const PCI_CAP_AF_SIZEOF = 6;

// Enhanced allocation: fixed BARs.
export const PCI_EA_NUM_ENT = 2;
export const PCI_EA_NUM_ENT_MASK = 0x3f;
export const PCI_EA_FIRST_ENT = 4;
export const PCI_EA_FIRST_ENT_BRIDGE = 8;
export const PCI_EA_ES = 0x00000007;
export const PCI_EA_BEI = 0x000000f0;
export const PCI_EA_SEC_BUS_MASK = 0xff;
export const PCI_EA_SUB_BUS_MASK = 0xff00;
export const PCI_EA_SUB_BUS_SHIFT = 8;
export const PCI_EA_BEI_BAR0 = 0;
export const PCI_EA_BEI_BAR5 = 5;
export const PCI_EA_BEI_BRIDGE = 6;
export const PCI_EA_BEI_ENI = 7;
export const PCI_EA_BEI_ROM = 8;
export const PCI_EA_BEI_VF_BAR0 = 9;
export const PCI_EA_BEI_VF_BAR5 = 14;
export const PCI_EA_BEI_RESERVED = 15;
export const PCI_EA_PP = 0x0000ff00;
export const PCI_EA_SP = 0x00ff0000;
export const PCI_EA_P_MEM = 0x00;
export const PCI_EA_P_MEM_PREFETCH = 0x01;
export const PCI_EA_P_IO = 0x02;
export const PCI_EA_P_VF_MEM_PREFETCH = 0x03;
export const PCI_EA_P_VF_MEM = 0x04;
export const PCI_EA_P_BRIDGE_MEM = 0x05;
export const PCI_EA_P_BRIDGE_MEM_PREFETCH = 0x06;
export const PCI_EA_P_BRIDGE_IO = 0x07;
export const PCI_EA_P_MEM_RESERVED = 0xfd;
export const PCI_EA_P_IO_RESERVED = 0xfe;
export const PCI_EA_P_UNAVAILABLE = 0xff;
export const PCI_EA_WRITABLE = 0x40000000;
export const PCI_EA_ENABLE = 0x80000000;
export const PCI_EA_BASE = 4;
export const PCI_EA_MAX_OFFSET = 8;
export const PCI_EA_IS_64 = 0x00000002;
export const PCI_EA_FIELD_MASK = 0xfffffffc;

// PCI-X.
export const PCI_X_CMD = 2;
export const PCI_X_CMD_DPERR_E = 0x0001;
export const PCI_X_CMD_ERO = 0x0002;
export const PCI_X_CMD_READ_512 = 0x0000;
export const PCI_X_CMD_READ_1K = 0x0004;
export const PCI_X_CMD_READ_2K = 0x0008;
export const PCI_X_CMD_READ_4K = 0x000c;
export const PCI_X_CMD_MAX_READ = 0x000c;
export const PCI_X_CMD_SPLIT_1 = 0x0000;
export const PCI_X_CMD_SPLIT_2 = 0x0010;
export const PCI_X_CMD_SPLIT_3 = 0x0020;
export const PCI_X_CMD_SPLIT_4 = 0x0030;
export const PCI_X_CMD_SPLIT_8 = 0x0040;
export const PCI_X_CMD_SPLIT_12 = 0x0050;
export const PCI_X_CMD_SPLIT_16 = 0x0060;
export const PCI_X_CMD_SPLIT_32 = 0x0070;
export const PCI_X_CMD_MAX_SPLIT = 0x0070;
export const PCI_X_STATUS = 4;
export const PCI_X_STATUS_DEVFN = 0x000000ff;
export const PCI_X_STATUS_BUS = 0x0000ff00;
export const PCI_X_STATUS_64BIT = 0x00010000;
export const PCI_X_STATUS_133MHZ = 0x00020000;
export const PCI_X_STATUS_SPL_DISC = 0x00040000;
export const PCI_X_STATUS_UNX_SPL = 0x00080000;
export const PCI_X_STATUS_COMPLEX = 0x00100000;
export const PCI_X_STATUS_MAX_READ = 0x00600000;
export const PCI_X_STATUS_MAX_SPLIT = 0x03800000;
export const PCI_X_STATUS_MAX_CUM = 0x1c000000;
export const PCI_X_STATUS_SPL_ERR = 0x20000000;
export const PCI_X_STATUS_266MHZ = 0x40000000;
export const PCI_X_STATUS_533MHZ = 0x80000000;
export const PCI_X_ECC_CSR = 8;
export const PCI_CAP_PCIX_SIZEOF_V0 = 8;
export const PCI_CAP_PCIX_SIZEOF_V1 = 24;
export const PCI_CAP_PCIX_SIZEOF_V2 = PCI_CAP_PCIX_SIZEOF_V1;
export const PCI_X_BRIDGE_SSTATUS = 2;
export const PCI_X_SSTATUS_64BIT = 0x0001;
export const PCI_X_SSTATUS_133MHZ = 0x0002;
export const PCI_X_SSTATUS_FREQ = 0x03c0;
export const PCI_X_SSTATUS_VERS = 0x3000;
export const PCI_X_SSTATUS_V1 = 0x1000;
export const PCI_X_SSTATUS_V2 = 0x2000;
export const PCI_X_SSTATUS_266MHZ = 0x4000;
export const PCI_X_SSTATUS_533MHZ = 0x8000;
export const PCI_X_BRIDGE_STATUS = 4;

// Subsystem of a bridge.
export const PCI_SSVID_VENDOR_ID = 4;
export const PCI_SSVID_DEVICE_ID = 6;

// SATA index and data pair.
export const PCI_SATA_REGS = 4;
export const PCI_SATA_REGS_MASK = 0xf;
export const PCI_SATA_REGS_INLINE = 0xf;
export const PCI_SATA_SIZEOF_SHORT = 8;
export const PCI_SATA_SIZEOF_LONG = 16;
