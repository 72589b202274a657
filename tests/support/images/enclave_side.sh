# What stands on the host's files next to an enclave's image in its guest: sh enclave_side.sh DEVICE CID RAM PARENT_OUT
#
# DEVICE is the program that plays /dev/nsm, asking a module that listens at the parent, CID. RAM/run is the image's
# /run; PARENT_OUT is where the parent side puts KMS's authority as soon as it is ready.
set -eu

device=$1 cid=$2 ram=$3 parent_out=$4
. "${0%/*}/../vsock/load_vsock.sh"
insmod "$modules/fs/fuse/fuse.ko"
insmod "$modules/fs/fuse/cuse.ko"
while [ ! -e "$parent_out/ca.pem" ]; do sleep 0.1; done
cp "$parent_out/ca.pem" "$ram/run/ca.pem"
exec "$device" "$cid" 9000
