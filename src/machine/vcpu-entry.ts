/** The Worker of one vCPU: kvm/vcpu-loop.ts with the machine's fast path. */

import { runVcpuThread } from "../kvm/vcpu-loop.ts";
import { nativeSyscalls } from "../sys/native.ts";
import { FastPath, type FastPathState } from "./fast-path.ts";

const sys = nativeSyscalls();

runVcpuThread(sys, (shared, vcpu) => new FastPath(shared as FastPathState, sys, vcpu));
