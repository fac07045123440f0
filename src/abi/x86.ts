/**
 * Registers of an x86 CPU that a VMM sets or answers: control registers, EFER, model-specific
 * registers, CPUID bits, segment types (Intel SDM volumes 3 and 4, AMD APM volume 2), and the
 * paravirtual MSRs of KVM. Names are the manuals', as the kernel spells them.
 */

// CR0.
export const X86_CR0_PE = 1 << 0;
export const X86_CR0_MP = 1 << 1;
export const X86_CR0_EM = 1 << 2;
export const X86_CR0_TS = 1 << 3;
export const X86_CR0_ET = 1 << 4;
export const X86_CR0_NE = 1 << 5;
export const X86_CR0_WP = 1 << 16;
export const X86_CR0_AM = 1 << 18;
export const X86_CR0_NW = 1 << 29;
export const X86_CR0_CD = 1 << 30;
export const X86_CR0_PG = 0x8000_0000;

// CR4.
export const X86_CR4_PSE = 1 << 4;
export const X86_CR4_PAE = 1 << 5;
export const X86_CR4_MCE = 1 << 6;
export const X86_CR4_PGE = 1 << 7;
export const X86_CR4_OSFXSR = 1 << 9;
export const X86_CR4_OSXMMEXCPT = 1 << 10;
export const X86_CR4_LA57 = 1 << 12;
export const X86_CR4_OSXSAVE = 1 << 18;

// MSR_EFER.
export const EFER_SCE = 1 << 0;
export const EFER_LME = 1 << 8;
export const EFER_LMA = 1 << 10;
export const EFER_NX = 1 << 11;
export const EFER_SVME = 1 << 12;

/** Bit 1 of the flags register always reads as one. */
export const X86_EFLAGS_FIXED = 1 << 1;
export const X86_EFLAGS_IF = 1 << 9;

// Model-specific registers.
export const MSR_IA32_TSC = 0x10;
export const MSR_IA32_APICBASE = 0x1b;
export const MSR_IA32_FEAT_CTL = 0x3a;
export const MSR_IA32_TSC_ADJUST = 0x3b;
export const MSR_IA32_SPEC_CTRL = 0x48;
export const MSR_IA32_UCODE_REV = 0x8b;
export const MSR_MTRRcap = 0xfe;
export const MSR_IA32_ARCH_CAPABILITIES = 0x10a;
export const MSR_IA32_SYSENTER_CS = 0x174;
export const MSR_IA32_SYSENTER_ESP = 0x175;
export const MSR_IA32_SYSENTER_EIP = 0x176;
export const MSR_IA32_MCG_CAP = 0x179;
export const MSR_IA32_MCG_STATUS = 0x17a;
export const MSR_IA32_MISC_ENABLE = 0x1a0;
export const MSR_MTRRphysBase0 = 0x200;
export const MSR_MTRRfix64K_00000 = 0x250;
export const MSR_IA32_CR_PAT = 0x277;
export const MSR_MTRRdefType = 0x2ff;
export const MSR_IA32_XSS = 0xda0;
export const MSR_IA32_TSC_DEADLINE = 0x6e0;
export const MSR_EFER = 0xc000_0080;
export const MSR_STAR = 0xc000_0081;
export const MSR_LSTAR = 0xc000_0082;
export const MSR_CSTAR = 0xc000_0083;
export const MSR_SYSCALL_MASK = 0xc000_0084;
export const MSR_FS_BASE = 0xc000_0100;
export const MSR_GS_BASE = 0xc000_0101;
export const MSR_KERNEL_GS_BASE = 0xc000_0102;
export const MSR_TSC_AUX = 0xc000_0103;

/** MSR_IA32_MISC_ENABLE: string instructions are fast. */
export const MSR_IA32_MISC_ENABLE_FAST_STRING = 1 << 0;
/** MSR_MTRRdefType: variable ranges count; the low byte is the default type, 6 is write-back. */
export const MTRR_DEF_TYPE_ENABLE = 1 << 11;

// MSR_IA32_APICBASE.
export const MSR_IA32_APICBASE_BSP = 1 << 8;
export const MSR_IA32_APICBASE_X2APIC = 1 << 10;
export const MSR_IA32_APICBASE_ENABLE = 1 << 11;

// Offsets in the page of the local APIC.
export const APIC_ID = 0x20;
export const APIC_LVR = 0x30;
export const APIC_TASKPRI = 0x80;
export const APIC_SPIV = 0xf0;
export const APIC_LVTT = 0x320;
export const APIC_LVT0 = 0x350;
export const APIC_LVT1 = 0x360;
/** Delivery modes of a local vector table entry. */
export const APIC_MODE_FIXED = 0x0;
export const APIC_MODE_NMI = 0x4;
export const APIC_MODE_EXTINT = 0x7;

// An interrupt message of a device (Intel SDM 11.11).
export const MSI_ADDRESS_BASE = 0xfee0_0000;
export const MSI_ADDRESS_DESTINATION_SHIFT = 12;
export const MSI_ADDRESS_REDIRECTION_HINT = 1 << 3;
export const MSI_ADDRESS_LOGICAL = 1 << 2;
export const MSI_DATA_LEVEL_ASSERT = 1 << 14;
export const MSI_DATA_TRIGGER_LEVEL = 1 << 15;
