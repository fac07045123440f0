#!/bin/busybox sh
# The first process of L1, and its agent. Boots to where a snapshot is taken: modules loaded, nothing
# of the host mounted (a mounted 9p file system cannot be migrated). Then it runs one script at a
# time: `ID SECONDS BASE64` on the control port, output on two more ports, `END ID STATUS` on all.
export PATH=/bin HOME=/root
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
for module in $(cat /modules/order); do
  insmod "/modules/$module" || echo "init: cannot load $module"
done
for tries in 1 2 3 4 5 6 7 8 9 10; do
  [ -c /dev/vport0p3 ] && break
  sleep 0.1
done
exec 3<>/dev/vport0p1 4>/dev/vport0p2 5>/dev/vport0p3
echo READY >&3
while read -r id seconds script <&3; do
  echo "$script" | base64 -d >/run/script
  setsid sh /run/script >&4 2>&5 </dev/null 3<&- &
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
