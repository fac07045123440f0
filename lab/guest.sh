#!/bin/busybox sh
# The first process of a small guest: mounts, loads the drivers it was made with, says that it is
# up, runs /job, and powers off. A job may ask to load the drivers itself. Lines for the host's side
# begin with "guest: ".
export PATH=/bin HOME=/root
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /tmp
say() { echo "guest: $*"; }
say "up after $(cut -d' ' -f1 /proc/uptime) s"
load_drivers() {
  for module in $(cat /modules/order); do
    insmod "/modules/$module" || say "cannot load $module"
  done
}
[ -e /modules/by-job ] || load_drivers
# Waits up to ten seconds for a device node.
wait_for() {
  tries=0
  while [ ! -e "$1" ] && [ $tries -lt 100 ]; do
    sleep 0.1
    tries=$((tries + 1))
  done
  [ -e "$1" ] || say "no $1"
}
. /job
poweroff -f
