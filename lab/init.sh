#!/bin/busybox sh
# The first process of L1, and its agent. Boots to where a snapshot is taken: modules loaded, nothing
# of the host mounted (a mounted 9p file system cannot be migrated). Then it runs scripts, one at a
# time on each of four channels: `ID SECONDS BASE64` on a control port, output on two more ports,
# `END ID STATUS` on all three.
export PATH=/bin HOME=/root
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
for module in $(cat /modules/order); do
  insmod "/modules/$module" || echo "init: cannot load $module"
done
# KVM gives a guest the frequency of the TSC as it was measured when KVM began, refuses it when the
# kernel then refines it by more than this, and goes on with a TSC that stands still: a guest's
# deadline timer fires seconds late. Emulated clocks are refined by 1400 ppm and more.
echo 100000 >/sys/module/kvm/parameters/tsc_tolerance_ppm
for tries in 1 2 3 4 5 6 7 8 9 10; do
  [ -c /dev/vport0p13 ] && break
  sleep 0.1
done
# serve CONTROL STDOUT STDERR CHANNEL
serve() {
  exec 3<>"$1" 4>"$2" 5>"$3"
  echo READY >&3
  while read -r id seconds script <&3; do
    echo "$script" | base64 -d >"/run/script$4"
    setsid sh "/run/script$4" >&4 2>&5 </dev/null 3<&- &
    pid=$!
    setsid sh -c "sleep $seconds; kill -KILL -$pid" </dev/null >/dev/null 2>&1 3<&- 4>&- 5>&- &
    guard=$!
    wait $pid
    status=$?
    kill -KILL -$guard 2>/dev/null
    printf '\nEND %s\n' "$id" >&4
    printf '\nEND %s\n' "$id" >&5
    echo "END $id $status" >&3
  done
}
for channel in 1 2 3; do
  serve /dev/vport0p$((channel * 3 + 1)) /dev/vport0p$((channel * 3 + 2)) \
    /dev/vport0p$((channel * 3 + 3)) $channel &
done
serve /dev/vport0p1 /dev/vport0p2 /dev/vport0p3 0
