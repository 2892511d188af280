#!/usr/bin/env bash
# Builds a container image without a daemon, for one architecture or several, and writes it as an
# OCI archive. Prints its digest.
#
#   images/image.sh REFERENCE ARCHIVE CONTEXT ARCHITECTURE[,ARCHITECTURE...] [OPTION OF BUILDAH BUD...]
#
# The same input gives the same digest: all times are SOURCE_DATE_EPOCH, or 0 where it is not set.
set -euo pipefail
[ $# -ge 4 ] || { echo "usage: image.sh REFERENCE ARCHIVE CONTEXT ARCHITECTURES [OPTION...]" >&2; exit 1; }
reference=$1 archive=$2 context=$3 architectures=$4
shift 4

# A store of its own, so that nothing is left of it and several runs are not in each other's way.
store=$(mktemp -d "${TMPDIR:-/tmp}/drainhook-images-XXXXXX")
trap 'rm -rf "$store"' EXIT
run() { buildah --storage-driver vfs --root "$store/root" --runroot "$store/run" "$@"; }

# One after the other: together they come into the manifest in any order, and the digest is another.
for architecture in ${architectures//,/ }; do
    run bud --quiet --isolation chroot --timestamp "${SOURCE_DATE_EPOCH:-0}" \
        --platform "linux/$architecture" --manifest "$reference" "$@" "$context" >/dev/null
done
run manifest push --quiet --all --digestfile "$store/digest" "$reference" \
    "oci-archive:$archive.$$:$reference" >&2
mv "$archive.$$" "$archive"
cat "$store/digest"
echo
