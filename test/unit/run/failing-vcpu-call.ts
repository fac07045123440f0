/** What a test tells `failing-vcpu-entry.ts`, through the Workers' environment data. */

/** The key. */
export const FAILING_VCPU_CALL = "failing vCPU call";

export interface FailingVcpuCall {
  /** From 1. */
  readonly at: number;
  readonly errno: string;
  /** Word 0 becomes 1 when the call came. */
  readonly reached: Int32Array;
}
