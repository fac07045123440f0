/**
 * The kinds of PCI Express function (Device/Port Type, PCIe 6.0, 7.5.3.2), and what the parts of
 * the capability's decoder share.
 */

export const TYPES: Readonly<Record<number, string>> = {
  0: "Endpoint",
  1: "Legacy Endpoint",
  4: "Root Port",
  5: "Upstream Port",
  6: "Downstream Port",
  7: "PCI-Express to PCI/PCI-X Bridge",
  8: "PCI/PCI-X to PCI-Express Bridge",
  9: "Root Complex Integrated Endpoint",
  10: "Root Complex Event Collector",
};

export const ENDPOINT = 0;
export const LEGACY_ENDPOINT = 1;
export const ROOT_PORT = 4;
export const UPSTREAM = 5;
export const DOWNSTREAM = 6;
export const PCI_BRIDGE = 7;
export const PCIE_BRIDGE = 8;
export const ROOT_COMPLEX_ENDPOINT = 9;
export const EVENT_COLLECTOR = 10;

export function powerLimit(value: number, scale: number): string {
  if (scale === 0 && value >= 0xf0) {
    const special = [250, 275, 300, 325, 350, 375, 400, 425, 450, 475, 500, 525, 550, 575, 600];
    return value === 0xff ? ">600W" : `${special[value - 0xf0]}W`;
  }
  const divisors = [1, 10, 100, 1000];
  return `${Number((value / divisors[scale]!).toPrecision(6))}W`;
}
