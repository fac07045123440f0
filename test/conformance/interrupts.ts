/** Programs of `VFIO_DEVICE_SET_IRQS`: drivers/vfio/pci/vfio_pci_intrs.c. */

import {
  VFIO_IRQ_SET_DATA_BOOL as BOOL,
  VFIO_IRQ_SET_DATA_EVENTFD as EVENTFD,
  VFIO_IRQ_SET_ACTION_MASK as MASK,
  VFIO_IRQ_SET_DATA_NONE as NONE,
  VFIO_IRQ_SET_ACTION_TRIGGER as TRIGGER,
  VFIO_IRQ_SET_ACTION_UNMASK as UNMASK,
  VFIO_DEVICE_SET_IRQS,
  vfio_irq_set,
} from "../../src/abi/vfio.ts";
import {
  answer,
  type ConformanceProgram,
  makeEventfd,
  type ProgramHost,
  signals,
} from "./program.ts";

const INDEXES = ["INTx", "MSI", "MSI-X", "ERR", "REQ", "index 5"] as const;
const [INTX, MSI, MSIX, ERR, REQ] = [0, 1, 2, 3, 4] as const;

interface IrqRequest {
  readonly index: number;
  readonly flags: number;
  readonly start?: number;
  readonly count?: number;
  /** What follows the struct: eventfds or, a byte each, truths. */
  readonly fds?: readonly number[];
  readonly bools?: readonly number[];
  readonly argsz?: number;
}

export function setIrqs({ sys, device }: ProgramHost, request: IrqRequest): string {
  const { index, flags, start = 0, fds = [], bools = [] } = request;
  const data =
    bools.length > 0 ? Uint8Array.from(bools) : new Uint8Array(Int32Array.from(fds).buffer);
  const count = request.count ?? Math.max(fds.length, bools.length);
  const bytes = new Uint8Array(Math.max(vfio_irq_set.size + data.length, 64));
  const argsz = request.argsz ?? vfio_irq_set.size + data.length;
  bytes.set(vfio_irq_set.bytes({ argsz, flags, index, start, count }));
  bytes.set(data, vfio_irq_set.size);
  return answer(sys.ioctl(device, VFIO_DEVICE_SET_IRQS, bytes));
}

/** Everything off, as a program found it. */
export function disarm(host: ProgramHost): void {
  for (const index of [INTX, MSI, MSIX]) setIrqs(host, { index, flags: NONE | TRIGGER, count: 0 });
  for (const index of [ERR, REQ]) setIrqs(host, { index, flags: EVENTFD | TRIGGER, fds: [-1] });
}

const ACTIONS = { MASK, UNMASK, TRIGGER };
const RANGES = [
  [0, 0],
  [0, 1],
  [1, 1],
] as const;

/** The data of a request of `count` interrupts. */
const DATA: Readonly<Record<string, (host: ProgramHost, count: number) => Partial<IrqRequest>>> = {
  NONE: () => ({ flags: NONE }),
  BOOL: (_, count) => ({ flags: BOOL, bools: new Array<number>(count).fill(1) }),
  "EVENTFD -1": (_, count) => ({ flags: EVENTFD, fds: new Array<number>(count).fill(-1) }),
  EVENTFD: (host, count) => ({
    flags: EVENTFD,
    fds: Array.from({ length: count }, () => makeEventfd(host)),
  }),
};

/** Each index, action, kind of data and range, on a device whose interrupts are off. */
const matrix: readonly ConformanceProgram[] = INDEXES.flatMap((indexName, index) =>
  Object.entries(ACTIONS).flatMap(([actionName, action]) =>
    Object.entries(DATA).flatMap(([dataName, data]) =>
      RANGES.map(
        ([start, count]): ConformanceProgram => ({
          name: `SET_IRQS ${indexName} ${actionName} ${dataName} ${start}+${count}`,
          stage: "device",
          run: (host) => {
            const { flags = 0, ...rest } = data(host, count);
            return setIrqs(host, { index, start, count, ...rest, flags: flags | action });
          },
        }),
      ),
    ),
  ),
);

const MALFORMED: Readonly<Record<string, IrqRequest>> = {
  "of no action": { index: INTX, flags: NONE, count: 1 },
  "of no data": { index: INTX, flags: TRIGGER, count: 1 },
  "of two kinds of data": { index: INTX, flags: NONE | BOOL | TRIGGER, count: 1, bools: [1] },
  "of two actions": { index: INTX, flags: NONE | MASK | UNMASK, count: 1 },
  "with an unknown flag": { index: INTX, flags: NONE | TRIGGER | 0x40, count: 1 },
  "with argsz 0": { index: INTX, flags: NONE | TRIGGER, count: 1, argsz: 0 },
  "with argsz 19": { index: INTX, flags: NONE | TRIGGER, count: 1, argsz: 19 },
  "with argsz 20 and an eventfd": { index: INTX, flags: EVENTFD | TRIGGER, fds: [-1], argsz: 20 },
  "with argsz 23 and an eventfd": { index: INTX, flags: EVENTFD | TRIGGER, fds: [-1], argsz: 23 },
  "of 2^32-1 interrupts": { index: MSI, flags: NONE | TRIGGER, count: 0xffff_ffff },
  "from 2^32-1": { index: MSI, flags: NONE | TRIGGER, start: 0xffff_ffff, count: 1 },
  "of descriptor -2": { index: INTX, flags: EVENTFD | TRIGGER, fds: [-2] },
  "of a closed descriptor": { index: INTX, flags: EVENTFD | TRIGGER, fds: [9999] },
  "of MSI with a closed descriptor": { index: MSI, flags: EVENTFD | TRIGGER, fds: [9999] },
  "of MSI with descriptor -2": { index: MSI, flags: EVENTFD | TRIGGER, fds: [-2] },
  "of REQ with a closed descriptor": { index: REQ, flags: EVENTFD | TRIGGER, fds: [9999] },
};

/** A step of a sequence; `fd` is the program's eventfd, `other` a second one. */
type Step = (host: ProgramHost, fd: number, other: number) => string;

const arm =
  (index: number, start = 0): Step =>
  (host, fd) =>
    setIrqs(host, { index, start, flags: EVENTFD | TRIGGER, fds: [fd] });
const armOther =
  (index: number): Step =>
  (host, _, other) =>
    setIrqs(host, { index, flags: EVENTFD | TRIGGER, fds: [other] });
const armNone =
  (index: number): Step =>
  (host) =>
    setIrqs(host, { index, flags: EVENTFD | TRIGGER, fds: [-1] });
const armMemory =
  (index: number): Step =>
  (host) =>
    setIrqs(host, { index, flags: EVENTFD | TRIGGER, fds: [host.container] });
const trigger =
  (index: number, start = 0): Step =>
  (host) =>
    setIrqs(host, { index, start, flags: NONE | TRIGGER, count: 1 });
const triggerIf =
  (index: number, truth: 0 | 1): Step =>
  (host) =>
    setIrqs(host, { index, flags: BOOL | TRIGGER, bools: [truth] });
const disable =
  (index: number): Step =>
  (host) =>
    setIrqs(host, { index, flags: NONE | TRIGGER, count: 0 });
const mask: Step = (host) => setIrqs(host, { index: INTX, flags: NONE | MASK, count: 1 });
const unmask: Step = (host) => setIrqs(host, { index: INTX, flags: NONE | UNMASK, count: 1 });
const maskIf =
  (truth: 0 | 1): Step =>
  (host) =>
    setIrqs(host, { index: INTX, flags: BOOL | MASK, bools: [truth] });
const unmaskBy: Step = (host, _, other) =>
  setIrqs(host, { index: INTX, flags: EVENTFD | UNMASK, fds: [other] });
const unmaskByNone: Step = (host) =>
  setIrqs(host, { index: INTX, flags: EVENTFD | UNMASK, fds: [-1] });
const maskBy: Step = (host, _, other) =>
  setIrqs(host, { index: INTX, flags: EVENTFD | MASK, fds: [other] });
const listen: Step = ({ sys }, fd) => signals(sys, fd);
const listenOther: Step = ({ sys }, _, other) => signals(sys, other);

const SEQUENCES: Readonly<Record<string, readonly Step[]>> = {
  "INTx armed, triggered": [arm(INTX), trigger(INTX), listen],
  "INTx armed, triggered if 0": [arm(INTX), triggerIf(INTX, 0), listen],
  "INTx armed, triggered if 1": [arm(INTX), triggerIf(INTX, 1), listen],
  "INTx armed, masked, triggered": [arm(INTX), mask, trigger(INTX), listen],
  "INTx armed, masked twice, unmasked twice": [arm(INTX), mask, mask, unmask, unmask],
  "INTx armed, masked and unmasked by truths": [arm(INTX), maskIf(0), maskIf(1), unmask],
  "INTx armed twice with one eventfd": [arm(INTX), arm(INTX), trigger(INTX), listen],
  "INTx armed with another eventfd": [
    arm(INTX),
    armOther(INTX),
    trigger(INTX),
    listen,
    listenOther,
  ],
  "INTx armed, then with none": [arm(INTX), armNone(INTX), trigger(INTX), listen],
  "INTx armed, disabled, triggered": [arm(INTX), disable(INTX), trigger(INTX), listen],
  "INTx armed, disabled twice": [arm(INTX), disable(INTX), disable(INTX)],
  "INTx armed, disabled, armed": [arm(INTX), disable(INTX), arm(INTX), trigger(INTX), listen],
  "INTx armed with what is no eventfd": [armMemory(INTX), trigger(INTX)],
  "INTx armed, unmasked by an eventfd": [arm(INTX), unmaskBy, unmaskByNone],
  "INTx armed, unmasked by an eventfd twice": [arm(INTX), unmaskBy, unmaskBy],
  "INTx armed, unmasked by the trigger": [arm(INTX), unmaskByNone, unmaskBy],
  "INTx armed, masked by an eventfd": [arm(INTX), maskBy],
  "INTx armed, MSI armed": [arm(INTX), armOther(MSI), trigger(INTX), listen, listenOther],
  "INTx armed, MSI-X armed": [arm(INTX), armOther(MSIX)],
  "INTx armed, MSI disabled": [arm(INTX), disable(MSI), trigger(INTX), listen],
  "MSI armed, triggered": [arm(MSI), trigger(MSI), listen],
  "MSI armed, triggered if 0": [arm(MSI), triggerIf(MSI, 0), listen],
  "MSI armed, triggered if 1": [arm(MSI), triggerIf(MSI, 1), listen],
  "MSI armed, then with none": [arm(MSI), armNone(MSI), trigger(MSI), listen],
  "MSI armed with none": [armNone(MSI), trigger(MSI)],
  "MSI armed with none, then with one": [armNone(MSI), arm(MSI), trigger(MSI), listen],
  "MSI armed with another eventfd": [arm(MSI), armOther(MSI), trigger(MSI), listen, listenOther],
  "MSI armed, disabled, triggered": [arm(MSI), disable(MSI), trigger(MSI), listen],
  "MSI armed, disabled twice": [arm(MSI), disable(MSI), disable(MSI)],
  "MSI armed, INTx armed": [arm(MSI), armOther(INTX)],
  "MSI armed, disabled, INTx armed": [arm(MSI), disable(MSI), armOther(INTX), trigger(INTX)],
  "MSI armed, INTx disabled": [arm(MSI), disable(INTX), trigger(MSI), listen],
  "MSI armed, MSI-X armed": [arm(MSI), armOther(MSIX)],
  "MSI armed with what is no eventfd": [armMemory(MSI), trigger(MSI)],
  "MSI-X armed, triggered": [arm(MSIX), trigger(MSIX), listen],
  "MSI-X armed with none": [armNone(MSIX), trigger(MSIX)],
  "MSI-X armed with none, vector 3 armed": [armNone(MSIX), arm(MSIX, 3), trigger(MSIX, 3), listen],
  "MSI-X vector 3 armed alone": [arm(MSIX, 3), trigger(MSIX, 3), trigger(MSIX, 2), listen],
  "MSI-X armed, vector 64 armed": [arm(MSIX), arm(MSIX, 64), trigger(MSIX, 64), listen],
  "MSI-X armed, vector 65 armed": [arm(MSIX), arm(MSIX, 65)],
  "MSI-X armed, an unused vector triggered": [arm(MSIX), trigger(MSIX, 5), listen],
  "MSI-X armed, INTx armed": [arm(MSIX), armOther(INTX)],
  "MSI-X armed, disabled, MSI-X armed": [
    arm(MSIX),
    disable(MSIX),
    arm(MSIX),
    trigger(MSIX),
    listen,
  ],
  "ERR armed, triggered": [arm(ERR), trigger(ERR), listen],
  "ERR armed, triggered if 1": [arm(ERR), triggerIf(ERR, 1), listen],
  "ERR armed, disarmed by count 0": [arm(ERR), disable(ERR), trigger(ERR), listen],
  "ERR armed, then with none": [arm(ERR), armNone(ERR), trigger(ERR), listen],
  "ERR armed with another eventfd": [arm(ERR), armOther(ERR), trigger(ERR), listen, listenOther],
  "REQ armed, triggered": [arm(REQ), trigger(REQ), listen],
  "REQ armed, triggered if 0": [arm(REQ), triggerIf(REQ, 0), listen],
  "REQ armed, disarmed by count 0": [arm(REQ), disable(REQ), trigger(REQ), listen],
  "REQ armed, then with none": [arm(REQ), armNone(REQ), trigger(REQ), listen],
  "REQ and INTx armed": [arm(REQ), armOther(INTX), trigger(INTX), listen, listenOther],
};

export const interruptPrograms: readonly ConformanceProgram[] = [
  ...matrix,
  ...Object.entries(MALFORMED).map(
    ([what, request]): ConformanceProgram => ({
      name: `SET_IRQS ${what}`,
      stage: "device",
      run: (host) => setIrqs(host, request),
    }),
  ),
  ...Object.entries(SEQUENCES).map(
    ([name, steps]): ConformanceProgram => ({
      name,
      stage: "device",
      run: (host) => {
        const [fd, other] = [makeEventfd(host), makeEventfd(host)];
        return steps.map((step) => step(host, fd, other)).join(", ");
      },
    }),
  ),
];
