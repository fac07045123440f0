/** asm/signal.h: signal numbers and flags of sigaction (x86, arm64, s390, POWER, RISC-V). */

export const SIGHUP = 1;
export const SIGINT = 2;
export const SIGQUIT = 3;
export const SIGABRT = 6;
export const SIGBUS = 7;
export const SIGKILL = 9;
export const SIGSEGV = 11;
export const SIGTERM = 15;
/** First real-time signal of the kernel; the C library keeps the two after 32 for itself. */
export const SIGRTMIN = 32;

export const SA_SIGINFO = 0x0000_0004;
export const SA_RESTART = 0x1000_0000;
export const SA_NODEFER = 0x4000_0000;

export const SIG_BLOCK = 0;
export const SIG_UNBLOCK = 1;
export const SIG_SETMASK = 2;
