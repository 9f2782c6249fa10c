#!/bin/sh
# Stage two, once per boot: file systems, modules, then what the cloud wants of this guest.
export PATH=/sbin:/usr/sbin:/bin:/usr/bin
. /usr/lib/guest/say

mkdir -p /dev/pts /dev/shm /run/lock
mount -t devpts -o gid=5,mode=620 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=1777 tmp /tmp
while read -r stage module; do
    [ "$stage" = late ] && [ -f "/run/guest/modules/$module.ko" ] && insmod "/run/guest/modules/$module.ko" 2>/dev/null
done < /run/guest/modules/order
rm -rf /run/guest/modules
ip link set lo up
hostname -F /etc/hostname
say "kernel $(uname -r)"

# Ports that QEMU names get their names here; there is no udev.
mkdir -p /dev/virtio-ports
for port in /sys/class/virtio-ports/*; do
    name=$(cat "$port/name" 2>/dev/null)
    [ -z "$name" ] || ln -sf "../${port##*/}" "/dev/virtio-ports/$name"
done

syslogd -C64
/usr/lib/guest/configure 2>&1
/usr/lib/guest/disks
setsid uevent /usr/lib/guest/hotplug < /dev/null > /dev/null 2>&1 &
say ready
