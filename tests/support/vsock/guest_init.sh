# The guest's first process: sh guest_init.sh RAM OUT DIRECTORY COMMAND [ARGUMENT]...
#
# The root is the host's file system, read-only. Of it only OUT can be written; RAM becomes a file system in memory.
# Whatever happens here, the guest powers off at the end: a first process that just ends makes the kernel panic.

power_off() {
    echo o >/proc/sysrq-trigger
    while :; do sleep 60; done # power-off takes its time, and this process must not end before it
}
trap power_off EXIT
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

ram=$1 out=$2 directory=$3
shift 3

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs "$ram"
mount -t hostfs -o "$out" hostfs "$out"
. "${0%/*}/load_vsock.sh"

cd "$directory"
echo "guest: up"
"$@" </dev/null || echo "guest: exit code $?"
