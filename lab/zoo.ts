/**
 * The device zoo: emulated devices that act as the hardware behind VFIO, by name, with what is
 * special about each as seen through vfio-pci.
 *
 * Facts measured with QEMU 11.1 and Linux 7.3: no device has MSI without INTx; AER errors reach
 * the device's error interrupt only with `virtio-net-aer`; an error that arrives nowhere is what
 * the other devices do.
 */

/** One kind of device. */
export interface ZooEntry {
  /** The QEMU driver with its fixed properties. */
  readonly device: string;
  /** Must be there from the start. */
  readonly cold?: true;
  /** Needs a drive. */
  readonly drive?: true;
  readonly irqs: string;
  readonly reset: string;
}

const INTX = "INTx";
const MSI = "INTx, MSI";
const MSIX = "INTx, MSI-X";

export const ZOO = {
  nvme: { device: "nvme", drive: true, irqs: `${MSIX} 65`, reset: "yes" },
  e1000: { device: "e1000", irqs: INTX, reset: "none" },
  e1000e: { device: "e1000e", irqs: "INTx, MSI, MSI-X 5", reset: "pm" },
  igb: { device: "igb", irqs: "INTx, MSI, MSI-X 10; 7 VFs", reset: "flr, pm" },
  rtl8139: { device: "rtl8139", irqs: INTX, reset: "none" },
  ahci: { device: "ich9-ahci", irqs: MSI, reset: "none" },
  edu: { device: "edu", irqs: MSI, reset: "none" },
  xhci: { device: "qemu-xhci", irqs: MSIX, reset: "none" },
  ehci: { device: "usb-ehci", irqs: INTX, reset: "none" },
  hda: { device: "intel-hda", irqs: MSI, reset: "none" },
  "hda-intx": { device: "intel-hda,msi=off", irqs: INTX, reset: "none" },
  ac97: { device: "AC97,audiodev=silence", irqs: INTX, reset: "none" },
  sdhci: { device: "sdhci-pci", irqs: INTX, reset: "none" },
  vga: { device: "VGA", cold: true, irqs: "none", reset: "none" },
  "bochs-display": { device: "bochs-display", irqs: "none", reset: "none" },
  "pci-testdev": { device: "pci-testdev", irqs: "none", reset: "none" },
  pvpanic: { device: "pvpanic-pci", irqs: "none", reset: "none" },
  "virtio-net": { device: "virtio-net-pci,disable-legacy=on", irqs: MSIX, reset: "none" },
  "virtio-net-aer": {
    device: "virtio-net-pci,disable-legacy=on,aer=on",
    irqs: `${MSIX}; AER`,
    reset: "none",
  },
  "virtio-rng": { device: "virtio-rng-pci,disable-legacy=on", irqs: MSIX, reset: "none" },
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
    devices: ["pcie-root-port,id=fast,bus=pcie.0,addr=0x14,chassis=30,slot=30", "e1000e,bus=fast"],
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
