#!/usr/bin/env bash
# Builds a container image without a daemon and writes it as an OCI archive.
#
#   tests/cluster/image.sh REFERENCE ARCHIVE CONTEXT [OPTION OF BUILDAH...]
#
# The same input gives the same digest: times are those of SOURCE_DATE_EPOCH (0 where it is not set).
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: image.sh REFERENCE ARCHIVE CONTEXT [OPTION...]" >&2; exit 1; }
reference=$1 archive=$2 context=$3
shift 3

# A store of its own, so that nothing is left of it and several runs are not in each other's way.
store=$(mktemp -d "${TMPDIR:-/tmp}/drainhook-images-XXXXXX")
trap 'rm -rf "$store"' EXIT
run() { buildah --storage-driver vfs --root "$store/root" --runroot "$store/run" "$@"; }

run bud --quiet --isolation chroot --timestamp "${SOURCE_DATE_EPOCH:-0}" --tag "$reference" "$@" "$context" >&2
rm -f "$archive.new"
run push --quiet "$reference" "oci-archive:$archive.new:$reference" >&2
mv "$archive.new" "$archive"
