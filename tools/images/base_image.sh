#!/bin/sh
# Writes the root file system of a Debian with Python as a tar archive: sh base_image.sh ARCHIVE SOURCE_DATE_EPOCH [MIRROR]
#
# For machines that reach Debian's packages but no registry of images. The same packages give the same archive, byte for
# byte; which packages those are the mirror decides on the day, so a policy that is to last wants BASE_IMAGE by digest,
# or a mirror that keeps old days. Needs root, as installing packages does.
set -eu
archive=$1 mirror=${3:-}
export SOURCE_DATE_EPOCH="$2"
suite=bookworm
command -v mmdebstrap >/dev/null || {
    echo "error: mmdebstrap: not found; on Debian: apt-get install mmdebstrap" >&2
    exit 2
}
# Nothing below is in an image of ours, which takes Python and its libraries only; leaving it out saves build time.
mmdebstrap --quiet --format=tar --variant=essential --include=python3,python3-venv,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    "$suite" "$archive.part" ${mirror:+"$mirror"}
mv "$archive.part" "$archive"
