/**
 * The device zoo: emulated devices that act as the hardware behind VFIO, by name, with what
 * vfio-pci says of each alone below a root port (there a bus reset is possible, so all but the VGA
 * card can be reset). Measured with QEMU 11.1 and Linux 7.3; test/lab/zoo.test.ts compares.
 *
 * No emulated device has MSI without INTx.
 */

/** One kind of device. */
export interface ZooEntry {
  /** The QEMU driver with its fixed properties. */
  readonly device: string;
  /** Interrupts that vfio-pci offers: INTx, MSI, MSI-X. */
  readonly irqs: readonly [number, number, number];
  /** Must be there from the start. */
  readonly cold?: true;
  /** Properties that a plain use of it needs. */
  readonly wants?: string;
  readonly note?: string;
}

export const ZOO = {
  nvme: { device: "nvme", irqs: [1, 0, 65], wants: "drive, serial", note: "resets by itself" },
  e1000: { device: "e1000", irqs: [1, 0, 0], note: "option ROM, conventional" },
  e1000e: { device: "e1000e", irqs: [1, 1, 5], note: "option ROM, power-management reset" },
  igb: { device: "igb", irqs: [1, 1, 10], note: "7 virtual functions, FLR" },
  rtl8139: { device: "rtl8139", irqs: [1, 0, 0], note: "option ROM, conventional" },
  ahci: { device: "ich9-ahci", irqs: [1, 1, 0] },
  edu: { device: "edu", irqs: [1, 1, 0], note: "raises interrupts and does DMA on request" },
  xhci: { device: "qemu-xhci", irqs: [1, 0, 16] },
  ehci: { device: "usb-ehci", irqs: [1, 0, 0] },
  hda: { device: "intel-hda", irqs: [1, 1, 0] },
  "hda-intx": { device: "intel-hda,msi=off", irqs: [1, 0, 0] },
  ac97: { device: "AC97,audiodev=silence", irqs: [1, 0, 0], note: "I/O ports only" },
  sdhci: { device: "sdhci-pci", irqs: [1, 0, 0] },
  vga: { device: "VGA", irqs: [0, 0, 0], cold: true, note: "VGA region, no reset" },
  "bochs-display": { device: "bochs-display", irqs: [0, 0, 0] },
  "pci-testdev": { device: "pci-testdev", irqs: [0, 0, 0] },
  pvpanic: { device: "pvpanic-pci", irqs: [0, 0, 0], note: "a BAR of 16 bytes" },
  "virtio-net": { device: "virtio-net-pci,disable-legacy=on", irqs: [1, 0, 4] },
  "virtio-net-aer": {
    device: "virtio-net-pci,disable-legacy=on,aer=on",
    irqs: [1, 0, 4],
    note: "errors injected by the monitor reach its error interrupt",
  },
  "virtio-rng": { device: "virtio-rng-pci,disable-legacy=on", irqs: [1, 0, 2] },
} as const satisfies Record<string, ZooEntry>;

export type ZooName = keyof typeof ZOO;

/** A fixed arrangement of devices that must be there from the start. */
export interface Topology {
  readonly devices: readonly string[];
  readonly what: string;
}

export const TOPOLOGIES = {
  "bridge-shared": {
    what: "three conventional functions below a bridge: one IOMMU group with the bridge in it",
    devices: [
      "pcie-pci-bridge,id=shared,bus=rp7",
      "e1000,bus=shared,addr=0x1",
      "rtl8139,bus=shared,addr=0x2",
      "edu,bus=shared,addr=0x3",
    ],
  },
  multifunction: {
    what: "two functions of one device without ACS: one group, one hot reset",
    devices: ["e1000e,bus=rp7,addr=0x0.0x0,multifunction=on", "e1000e,bus=rp7,addr=0x0.0x1"],
  },
  switch: {
    what: "two devices below a switch with ACS: separate groups, a slow hot reset",
    devices: [
      "x3130-upstream,id=up,bus=rp7",
      "xio3130-downstream,id=down0,bus=up,chassis=20,slot=20",
      "xio3130-downstream,id=down1,bus=up,chassis=21,slot=21",
      "e1000e,bus=down0",
      "e1000e,bus=down1",
    ],
  },
  sound: {
    what: "a sound card that plays into the void",
    devices: ["intel-hda,id=sound,bus=rp7", "hda-output,bus=sound.0,audiodev=silence"],
  },
  "default-port": {
    what: "a root port that reports a link it never has: hot reset fails with ENOTTY",
    devices: ["pcie-root-port,id=fast,bus=pcie.0,addr=0x1b,chassis=30,slot=30", "e1000e,bus=fast"],
  },
} as const satisfies Record<string, Topology>;

/** QEMU's spelling of a device by its name here; other text is QEMU's own spelling already. */
export function zooDevice(name: string): string {
  const entry: ZooEntry | undefined = (ZOO as Record<string, ZooEntry>)[name];
  return entry?.device ?? name;
}

/** A value in QEMU's option syntax: a comma is written twice. */
export const option = (value: string): string => value.replaceAll(",", ",,");

/** A `-device` value with further properties. */
export function deviceOption(device: string, properties: Record<string, unknown>): string {
  const words = Object.entries(properties).map(([name, value]) => {
    const text = typeof value === "boolean" ? (value ? "on" : "off") : String(value);
    return `${name}=${option(text)}`;
  });
  return [device, ...words].join(",");
}
