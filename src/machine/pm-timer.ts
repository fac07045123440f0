/** The ACPI power management timer (ACPI 6.5, 4.8.2.1): 32 bits at 3.579545 MHz. */

const PM_TIMER_HZ = 3_579_545n;

/** Its value now; the same in every thread. */
export function pmTimer(): number {
  const ticks = (process.hrtime.bigint() * PM_TIMER_HZ) / 1_000_000_000n;
  return Number(ticks & 0xffff_ffffn);
}
