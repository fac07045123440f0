/**
 * Guests that write random values for a bounded time, to BARs, to
 * the ECAM window, and to whole configuration spaces.
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

export const FUZZ_JOBS = {
  /** For a kernel that lets /dev/mem reach devices: the lab's. */
  memory: { script: `${TOOLS}${BARS}${CONFIGURATION}` },
};
