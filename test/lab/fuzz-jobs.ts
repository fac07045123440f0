/**
 * Guests that write random values for a bounded time: to BARs, to the ECAM window, to whole
 * configuration spaces, and to the chipset's ports.
 */

const SECONDS = 10;

const TOOLS = `
now() { cut -d. -f1 /proc/uptime; }
start() { end=$(($(now) + ${SECONDS})); say "start $1"; rounds=0; }
running() { rounds=$((rounds + 1)); [ $(now) -lt $end ]; }
random32() { hexdump -n 4 -e '"0x%08x"' /dev/urandom; }
for driver in /sys/bus/pci/drivers/*; do
  for device in $driver/0000:*; do
    [ -e $device ] && basename $device >$driver/unbind
  done
done 2>/dev/null
`;

const CONFIGURATION = `
start configuration
while running; do
  for device in /sys/bus/pci/devices/*; do
    size=$((RANDOM % 4 + 1)) at=$((RANDOM % 64))
    dd if=/dev/urandom of=$device/config bs=$size count=1 seek=$at conv=notrunc
    dd if=/dev/urandom of=$device/config bs=256 count=16 conv=notrunc
    dd if=$device/config of=/dev/null bs=4096
  done
done 2>/dev/null
say "configuration $rounds"
`;

/** Where the BARs are is noted first; the device may then move them. */
const BARS = `
bars=
for device in /sys/bus/pci/devices/*; do
  [ -e $device/enable ] && echo 1 >$device/enable
  for bar in $(head -n 6 $device/resource | awk '$1 != $2 && $3 ~ /2..$/ {print $1}'); do
    bars="$bars $bar"
  done
done 2>/dev/null
say "bars$bars"
start bars
while running; do
  for bar in $bars; do
    for width in 8 16 32; do
      address=$((bar + RANDOM % 16384 / 4 * 4))
      devmem $address $width $(random32) || true
      devmem $address $width
    done
  done
done >/dev/null 2>&1
say "bars $rounds"
ecam=$(sed -n 's/^ *\\([0-9a-f]*\\)-.*ECAM.*/0x\\1/p' /proc/iomem | head -n 1)
start ecam
while running; do
  address=$((ecam + RANDOM % 4 * 32768 + RANDOM))
  devmem $address 8 $(random32)
  devmem $((address / 4 * 4)) 32 $(random32)
done >/dev/null 2>&1
say "ecam $rounds"
`;

/**
 * All ports that the machine answers in user space, and those where nothing is. Left out is what a
 * guest rightly ends or blinds itself with: the reset ports' reset bits (0x64, 0x92, 0xcf9), SLP_EN
 * (0x605), its console (COM1), and what KVM answers for itself: the interrupt controllers, which it
 * can mask for good, and the PIT, whose shortest period keeps it busy with nothing else.
 */
const PORTS = `
fill() {
  dd if=/dev/urandom of=/dev/port bs=1 seek=$(($1)) count=$2 conv=notrunc
  dd if=/dev/port of=/dev/null bs=1 skip=$(($1)) count=$2
}
byte() { printf "\\\\x$(printf %02x $2)" | dd of=/dev/port bs=1 seek=$(($1)) conv=notrunc; }
start ports
while running; do
  fill 0xcf8 1
  fill 0xcfa 6
  fill 0x70 2
  fill 0x600 5
  fill 0x606 6
  fill $((RANDOM % 640 + 0x100)) 64
  fill $((RANDOM * 2 % 49152 + 0x1000)) 64
  byte 0x92 $((RANDOM % 256 & 0xfe))
  byte 0xcf9 $((RANDOM % 256 & 0xfb))
  byte 0x64 $((RANDOM % 254))
done 2>/dev/null
say "ports $rounds"
`;

export const FUZZ_JOBS = {
  /** For a kernel that lets /dev/mem reach devices: the lab's. */
  memory: { script: `${TOOLS}${BARS}${CONFIGURATION}` },
  /** For a kernel that has /dev/port: Debian's. */
  ports: { script: `${TOOLS}${PORTS}` },
};
