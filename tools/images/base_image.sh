#!/bin/sh
# Writes the root file system of Debian with Python as a tar archive: sh base_image.sh ARCHIVE SOURCE_DATE_EPOCH [MIRROR]
#
# For machines that can reach Debian's packages but no image registry. The same packages give the same archive, byte for
# byte. The mirror decides which packages are current, so for a long-lived policy set BASE_IMAGE with a digest, or use a
# mirror with snapshots. Needs root to install packages.
set -eu
archive=$1 mirror=${3:-}
export SOURCE_DATE_EPOCH="$2"
suite=bookworm
command -v mmdebstrap >/dev/null || {
    echo "error: mmdebstrap: not found; on Debian: apt-get install mmdebstrap" >&2
    exit 2
}
# Our images copy only Python and its libraries, so none of these paths get into them; excluding them saves build time.
mmdebstrap --quiet --format=tar --variant=essential --include=python3,python3-venv,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    "$suite" "$archive.part" ${mirror:+"$mirror"}
mv "$archive.part" "$archive"
