#!/bin/busybox sh
# The first process of a virtual machine: makes the host's root, seen read-only over 9p, its own, and starts
# /run/vm/main there. What the machine is told lies in the folder that becomes /run/vm (see machine.ts).
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

give_up() {
  echo "init: $1" >/dev/console
  poweroff -f
}

while read -r module; do
  insmod "/modules/$module" || give_up "insmod $module"
done </modules/order

options=trans=virtio,version=9p2000.L,msize=262144
mount -t 9p -o ro,$options,cache=loose root /host || give_up 'no root'
mount --bind /host /new
for folder in tmp run var/tmp mnt root; do
  if [ -d /new/$folder ]; then mount -t tmpfs tmpfs /new/$folder; fi
done
chmod 1777 /new/tmp /new/var/tmp
for folder in proc sys dev; do mount --move /$folder /new/$folder; done
mkdir -p /new/dev/pts /new/dev/shm /new/run/vm
mount -t devpts -o mode=620,ptmxmode=666 devpts /new/dev/pts
mount -t tmpfs shm /new/dev/shm
mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
ln -s /proc/self/fd /new/dev/fd
mount -t 9p -o rw,$options,cache=none run /new/run/vm || give_up 'no run folder'

# It may lie below a folder that is covered now.
directory=$(cat /new/run/vm/directory)
if [ ! -d "/new$directory" ]; then
  mkdir -p "/new$directory"
  mount --bind "/host$directory" "/new$directory"
fi

if [ -f /new/run/vm/shared ]; then
  shared=$(cat /new/run/vm/shared)
  mkdir -p "/new$shared"
  mount -t 9p -o rw,$options,cache=none shared "/new$shared" || give_up 'no shared folder'
fi

ip link set lo up
if [ -f /new/run/vm/address ]; then
  for interface in /new/sys/class/net/eth*; do
    ip link set "${interface##*/}" up
    ip addr add "$(cat /new/run/vm/address)" dev "${interface##*/}"
  done
fi
hostname "$(cat /new/run/vm/name)"
cp /bin/busybox /new/run/busybox
exec switch_root /new /run/busybox sh /run/vm/main
