# Gives a guest's kernel vsock: loopback, and a CID of its own where it has a device for that.

modules=/usr/lib/uml/modules/$(uname -r)/kernel
transports=vsock_loopback
if grep -qsx 0x0013 /sys/bus/virtio/devices/*/device; then # a socket device; source: <linux/virtio_ids.h>
    transports="vsock_loopback vmw_vsock_virtio_transport"
fi
for module in vsock vmw_vsock_virtio_transport_common $transports; do # each needs the first two
    insmod "$modules/net/vmw_vsock/$module.ko"
done
ip link set lo up
