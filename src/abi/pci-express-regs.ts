/**
 * linux/pci_regs.h, second part: the PCI Express capability. Offsets count from its start.
 */

// PCI Express capability (PCIe 6.0, 7.5.3).
export const PCI_EXP_FLAGS = 0x02;
export const PCI_EXP_FLAGS_VERS = 0x000f;
export const PCI_EXP_FLAGS_TYPE = 0x00f0;
export const PCI_EXP_TYPE_ENDPOINT = 0x0;
export const PCI_EXP_TYPE_LEG_END = 0x1;
export const PCI_EXP_TYPE_ROOT_PORT = 0x4;
export const PCI_EXP_TYPE_UPSTREAM = 0x5;
export const PCI_EXP_TYPE_DOWNSTREAM = 0x6;
export const PCI_EXP_TYPE_PCI_BRIDGE = 0x7;
export const PCI_EXP_TYPE_PCIE_BRIDGE = 0x8;
export const PCI_EXP_TYPE_RC_END = 0x9;
export const PCI_EXP_TYPE_RC_EC = 0xa;
export const PCI_EXP_FLAGS_SLOT = 0x0100;
export const PCI_EXP_FLAGS_IRQ = 0x3e00;
export const PCI_EXP_FLAGS_FLIT = 0x8000;

// Device capabilities.
export const PCI_EXP_DEVCAP = 0x04;
export const PCI_EXP_DEVCAP_PAYLOAD = 0x00000007;
export const PCI_EXP_DEVCAP_PHANTOM = 0x00000018;
export const PCI_EXP_DEVCAP_EXT_TAG = 0x00000020;
export const PCI_EXP_DEVCAP_L0S = 0x000001c0;
export const PCI_EXP_DEVCAP_L1 = 0x00000e00;
export const PCI_EXP_DEVCAP_ATN_BUT = 0x00001000;
export const PCI_EXP_DEVCAP_ATN_IND = 0x00002000;
export const PCI_EXP_DEVCAP_PWR_IND = 0x00004000;
export const PCI_EXP_DEVCAP_RBER = 0x00008000;
export const PCI_EXP_DEVCAP_PWR_VAL = 0x03fc0000;
export const PCI_EXP_DEVCAP_PWR_SCL = 0x0c000000;
export const PCI_EXP_DEVCAP_FLR = 0x10000000;
export const PCI_EXP_DEVCAP_TEE = 0x40000000;

// Device control.
export const PCI_EXP_DEVCTL = 0x08;
export const PCI_EXP_DEVCTL_CERE = 0x0001;
export const PCI_EXP_DEVCTL_NFERE = 0x0002;
export const PCI_EXP_DEVCTL_FERE = 0x0004;
export const PCI_EXP_DEVCTL_URRE = 0x0008;
export const PCI_EXP_DEVCTL_RELAX_EN = 0x0010;
export const PCI_EXP_DEVCTL_PAYLOAD = 0x00e0;
export const PCI_EXP_DEVCTL_PAYLOAD_128B = 0x0000;
export const PCI_EXP_DEVCTL_PAYLOAD_256B = 0x0020;
export const PCI_EXP_DEVCTL_PAYLOAD_512B = 0x0040;
export const PCI_EXP_DEVCTL_PAYLOAD_1024B = 0x0060;
export const PCI_EXP_DEVCTL_PAYLOAD_2048B = 0x0080;
export const PCI_EXP_DEVCTL_PAYLOAD_4096B = 0x00a0;
export const PCI_EXP_DEVCTL_EXT_TAG = 0x0100;
export const PCI_EXP_DEVCTL_PHANTOM = 0x0200;
export const PCI_EXP_DEVCTL_AUX_PME = 0x0400;
export const PCI_EXP_DEVCTL_NOSNOOP_EN = 0x0800;
export const PCI_EXP_DEVCTL_READRQ = 0x7000;
export const PCI_EXP_DEVCTL_READRQ_128B = 0x0000;
export const PCI_EXP_DEVCTL_READRQ_256B = 0x1000;
export const PCI_EXP_DEVCTL_READRQ_512B = 0x2000;
export const PCI_EXP_DEVCTL_READRQ_1024B = 0x3000;
export const PCI_EXP_DEVCTL_READRQ_2048B = 0x4000;
export const PCI_EXP_DEVCTL_READRQ_4096B = 0x5000;
export const PCI_EXP_DEVCTL_BCR_FLR = 0x8000;

// Device status; the error bits are cleared by writing 1.
export const PCI_EXP_DEVSTA = 0x0a;
export const PCI_EXP_DEVSTA_CED = 0x0001;
export const PCI_EXP_DEVSTA_NFED = 0x0002;
export const PCI_EXP_DEVSTA_FED = 0x0004;
export const PCI_EXP_DEVSTA_URD = 0x0008;
export const PCI_EXP_DEVSTA_AUXPD = 0x0010;
export const PCI_EXP_DEVSTA_TRPND = 0x0020;
export const PCI_CAP_EXP_RC_ENDPOINT_SIZEOF_V1 = 12;

// Link capabilities.
export const PCI_EXP_LNKCAP = 0x0c;
export const PCI_EXP_LNKCAP_SLS = 0x0000000f;
export const PCI_EXP_LNKCAP_SLS_2_5GB = 0x00000001;
export const PCI_EXP_LNKCAP_SLS_5_0GB = 0x00000002;
export const PCI_EXP_LNKCAP_SLS_8_0GB = 0x00000003;
export const PCI_EXP_LNKCAP_SLS_16_0GB = 0x00000004;
export const PCI_EXP_LNKCAP_SLS_32_0GB = 0x00000005;
export const PCI_EXP_LNKCAP_SLS_64_0GB = 0x00000006;
export const PCI_EXP_LNKCAP_MLW = 0x000003f0;
export const PCI_EXP_LNKCAP_ASPMS = 0x00000c00;
export const PCI_EXP_LNKCAP_ASPM_L0S = 0x00000400;
export const PCI_EXP_LNKCAP_ASPM_L1 = 0x00000800;
export const PCI_EXP_LNKCAP_L0SEL = 0x00007000;
export const PCI_EXP_LNKCAP_L1EL = 0x00038000;
export const PCI_EXP_LNKCAP_CLKPM = 0x00040000;
export const PCI_EXP_LNKCAP_SDERC = 0x00080000;
export const PCI_EXP_LNKCAP_DLLLARC = 0x00100000;
export const PCI_EXP_LNKCAP_LBNC = 0x00200000;
export const PCI_EXP_LNKCAP_PN = 0xff000000;

// Link control.
export const PCI_EXP_LNKCTL = 0x10;
export const PCI_EXP_LNKCTL_ASPMC = 0x0003;
export const PCI_EXP_LNKCTL_ASPM_L0S = 0x0001;
export const PCI_EXP_LNKCTL_ASPM_L1 = 0x0002;
export const PCI_EXP_LNKCTL_RCB = 0x0008;
export const PCI_EXP_LNKCTL_LD = 0x0010;
export const PCI_EXP_LNKCTL_RL = 0x0020;
export const PCI_EXP_LNKCTL_CCC = 0x0040;
export const PCI_EXP_LNKCTL_ES = 0x0080;
export const PCI_EXP_LNKCTL_CLKREQ_EN = 0x0100;
export const PCI_EXP_LNKCTL_HAWD = 0x0200;
export const PCI_EXP_LNKCTL_LBMIE = 0x0400;
export const PCI_EXP_LNKCTL_LABIE = 0x0800;

// Link status.
export const PCI_EXP_LNKSTA = 0x12;
export const PCI_EXP_LNKSTA_CLS = 0x000f;
export const PCI_EXP_LNKSTA_CLS_2_5GB = 0x0001;
export const PCI_EXP_LNKSTA_CLS_5_0GB = 0x0002;
export const PCI_EXP_LNKSTA_CLS_8_0GB = 0x0003;
export const PCI_EXP_LNKSTA_CLS_16_0GB = 0x0004;
export const PCI_EXP_LNKSTA_CLS_32_0GB = 0x0005;
export const PCI_EXP_LNKSTA_CLS_64_0GB = 0x0006;
export const PCI_EXP_LNKSTA_NLW = 0x03f0;
export const PCI_EXP_LNKSTA_NLW_X1 = 0x0010;
export const PCI_EXP_LNKSTA_NLW_X2 = 0x0020;
export const PCI_EXP_LNKSTA_NLW_X4 = 0x0040;
export const PCI_EXP_LNKSTA_NLW_X8 = 0x0080;
export const PCI_EXP_LNKSTA_NLW_SHIFT = 4;
export const PCI_EXP_LNKSTA_LT = 0x0800;
export const PCI_EXP_LNKSTA_SLC = 0x1000;
export const PCI_EXP_LNKSTA_DLLLA = 0x2000;
export const PCI_EXP_LNKSTA_LBMS = 0x4000;
export const PCI_EXP_LNKSTA_LABS = 0x8000;
export const PCI_CAP_EXP_ENDPOINT_SIZEOF_V1 = 20;

// Slot capabilities.
export const PCI_EXP_SLTCAP = 0x14;
export const PCI_EXP_SLTCAP_ABP = 0x00000001;
export const PCI_EXP_SLTCAP_PCP = 0x00000002;
export const PCI_EXP_SLTCAP_MRLSP = 0x00000004;
export const PCI_EXP_SLTCAP_AIP = 0x00000008;
export const PCI_EXP_SLTCAP_PIP = 0x00000010;
export const PCI_EXP_SLTCAP_HPS = 0x00000020;
export const PCI_EXP_SLTCAP_HPC = 0x00000040;
export const PCI_EXP_SLTCAP_SPLV = 0x00007f80;
export const PCI_EXP_SLTCAP_SPLS = 0x00018000;
export const PCI_EXP_SLTCAP_EIP = 0x00020000;
export const PCI_EXP_SLTCAP_NCCS = 0x00040000;
export const PCI_EXP_SLTCAP_PSN = 0xfff80000;

// Slot control.
export const PCI_EXP_SLTCTL = 0x18;
export const PCI_EXP_SLTCTL_ABPE = 0x0001;
export const PCI_EXP_SLTCTL_PFDE = 0x0002;
export const PCI_EXP_SLTCTL_MRLSCE = 0x0004;
export const PCI_EXP_SLTCTL_PDCE = 0x0008;
export const PCI_EXP_SLTCTL_CCIE = 0x0010;
export const PCI_EXP_SLTCTL_HPIE = 0x0020;
export const PCI_EXP_SLTCTL_AIC = 0x00c0;
export const PCI_EXP_SLTCTL_ATTN_IND_SHIFT = 6;
export const PCI_EXP_SLTCTL_ATTN_IND_ON = 0x0040;
export const PCI_EXP_SLTCTL_ATTN_IND_BLINK = 0x0080;
export const PCI_EXP_SLTCTL_ATTN_IND_OFF = 0x00c0;
export const PCI_EXP_SLTCTL_PIC = 0x0300;
export const PCI_EXP_SLTCTL_PWR_IND_ON = 0x0100;
export const PCI_EXP_SLTCTL_PWR_IND_BLINK = 0x0200;
export const PCI_EXP_SLTCTL_PWR_IND_OFF = 0x0300;
export const PCI_EXP_SLTCTL_PCC = 0x0400;
export const PCI_EXP_SLTCTL_PWR_ON = 0x0000;
export const PCI_EXP_SLTCTL_PWR_OFF = 0x0400;
export const PCI_EXP_SLTCTL_EIC = 0x0800;
export const PCI_EXP_SLTCTL_DLLSCE = 0x1000;
export const PCI_EXP_SLTCTL_ASPL_DISABLE = 0x2000;
export const PCI_EXP_SLTCTL_IBPD_DISABLE = 0x4000;

// Slot status; the change bits are cleared by writing 1.
export const PCI_EXP_SLTSTA = 0x1a;
export const PCI_EXP_SLTSTA_ABP = 0x0001;
export const PCI_EXP_SLTSTA_PFD = 0x0002;
export const PCI_EXP_SLTSTA_MRLSC = 0x0004;
export const PCI_EXP_SLTSTA_PDC = 0x0008;
export const PCI_EXP_SLTSTA_CC = 0x0010;
export const PCI_EXP_SLTSTA_MRLSS = 0x0020;
export const PCI_EXP_SLTSTA_PDS = 0x0040;
export const PCI_EXP_SLTSTA_EIS = 0x0080;
export const PCI_EXP_SLTSTA_DLLSC = 0x0100;

// Root control, capabilities and status.
export const PCI_EXP_RTCTL = 0x1c;
export const PCI_EXP_RTCTL_SECEE = 0x0001;
export const PCI_EXP_RTCTL_SENFEE = 0x0002;
export const PCI_EXP_RTCTL_SEFEE = 0x0004;
export const PCI_EXP_RTCTL_PMEIE = 0x0008;
export const PCI_EXP_RTCTL_RRS_SVE = 0x0010;
export const PCI_EXP_RTCAP = 0x1e;
export const PCI_EXP_RTCAP_RRS_SV = 0x0001;
export const PCI_EXP_RTSTA = 0x20;
export const PCI_EXP_RTSTA_PME_RQ_ID = 0x0000ffff;
export const PCI_EXP_RTSTA_PME = 0x00010000;
export const PCI_EXP_RTSTA_PENDING = 0x00020000;

// Device capabilities, control and status 2.
export const PCI_EXP_DEVCAP2 = 0x24;
export const PCI_EXP_DEVCAP2_COMP_TMOUT_DIS = 0x00000010;
export const PCI_EXP_DEVCAP2_ARI = 0x00000020;
export const PCI_EXP_DEVCAP2_ATOMIC_ROUTE = 0x00000040;
export const PCI_EXP_DEVCAP2_ATOMIC_COMP32 = 0x00000080;
export const PCI_EXP_DEVCAP2_ATOMIC_COMP64 = 0x00000100;
export const PCI_EXP_DEVCAP2_ATOMIC_COMP128 = 0x00000200;
export const PCI_EXP_DEVCAP2_LTR = 0x00000800;
export const PCI_EXP_DEVCAP2_TPH_COMP_MASK = 0x00003000;
export const PCI_EXP_DEVCAP2_OBFF_MASK = 0x000c0000;
export const PCI_EXP_DEVCAP2_OBFF_MSG = 0x00040000;
export const PCI_EXP_DEVCAP2_OBFF_WAKE = 0x00080000;
export const PCI_EXP_DEVCAP2_EE_PREFIX = 0x00200000;
export const PCI_EXP_DEVCAP2_EE_PREFIX_MAX = 0x00c00000;
export const PCI_EXP_DEVCTL2 = 0x28;
export const PCI_EXP_DEVCTL2_COMP_TIMEOUT = 0x000f;
export const PCI_EXP_DEVCTL2_COMP_TMOUT_DIS = 0x0010;
export const PCI_EXP_DEVCTL2_ARI = 0x0020;
export const PCI_EXP_DEVCTL2_ATOMIC_REQ = 0x0040;
export const PCI_EXP_DEVCTL2_ATOMIC_EGRESS_BLOCK = 0x0080;
export const PCI_EXP_DEVCTL2_IDO_REQ_EN = 0x0100;
export const PCI_EXP_DEVCTL2_IDO_CMP_EN = 0x0200;
export const PCI_EXP_DEVCTL2_LTR_EN = 0x0400;
export const PCI_EXP_DEVCTL2_OBFF_MSGA_EN = 0x2000;
export const PCI_EXP_DEVCTL2_OBFF_MSGB_EN = 0x4000;
export const PCI_EXP_DEVCTL2_OBFF_WAKE_EN = 0x6000;
export const PCI_EXP_DEVSTA2 = 0x2a;
export const PCI_CAP_EXP_RC_ENDPOINT_SIZEOF_V2 = 0x2c;

// Link capabilities, control and status 2.
export const PCI_EXP_LNKCAP2 = 0x2c;
export const PCI_EXP_LNKCAP2_SLS = 0x000000fe;
export const PCI_EXP_LNKCAP2_SLS_2_5GB = 0x00000002;
export const PCI_EXP_LNKCAP2_SLS_5_0GB = 0x00000004;
export const PCI_EXP_LNKCAP2_SLS_8_0GB = 0x00000008;
export const PCI_EXP_LNKCAP2_SLS_16_0GB = 0x00000010;
export const PCI_EXP_LNKCAP2_SLS_32_0GB = 0x00000020;
export const PCI_EXP_LNKCAP2_SLS_64_0GB = 0x00000040;
export const PCI_EXP_LNKCAP2_CROSSLINK = 0x00000100;
export const PCI_EXP_LNKCTL2 = 0x30;
export const PCI_EXP_LNKCTL2_TLS = 0x000f;
export const PCI_EXP_LNKCTL2_TLS_2_5GT = 0x0001;
export const PCI_EXP_LNKCTL2_TLS_5_0GT = 0x0002;
export const PCI_EXP_LNKCTL2_TLS_8_0GT = 0x0003;
export const PCI_EXP_LNKCTL2_TLS_16_0GT = 0x0004;
export const PCI_EXP_LNKCTL2_TLS_32_0GT = 0x0005;
export const PCI_EXP_LNKCTL2_TLS_64_0GT = 0x0006;
export const PCI_EXP_LNKCTL2_ENTER_COMP = 0x0010;
export const PCI_EXP_LNKCTL2_TX_MARGIN = 0x0380;
export const PCI_EXP_LNKCTL2_HASD = 0x0020;
export const PCI_EXP_LNKSTA2 = 0x32;
export const PCI_EXP_LNKSTA2_FLIT = 0x0400;
export const PCI_CAP_EXP_ENDPOINT_SIZEOF_V2 = 0x34;

// Slot capabilities, control and status 2.
export const PCI_EXP_SLTCAP2 = 0x34;
export const PCI_EXP_SLTCAP2_IBPD = 0x00000001;
export const PCI_EXP_SLTCTL2 = 0x38;
export const PCI_EXP_SLTSTA2 = 0x3a;
