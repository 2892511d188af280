#!/bin/sh
# Prints the CustomResourceDefinitions of the kinds that the chart makes objects of where its values say so,
# as their projects publish them: see crds/go.mod.
set -eu

cd "$(dirname "$0")/crds"
# Go itself: installed, or what build.sh has fetched.
cache=${DRAINHOOK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/drainhook}
go=$(command -v go || ls /usr/local/go/bin/go "$cache"/go/*/bin/go 2>/dev/null | tail -n 1)
[ -n "$go" ] || { echo "crds.sh: no Go toolchain; install Go 1.26 or newer" >&2; exit 1; }

# definitions MODULE FILE...
definitions() {
    version=$(awk -v path="$1" '$1 == path { print $2 }' go.mod)
    # What cannot be fetched now may be a moment later.
    for attempt in 1 2 3; do
        told=$(GOWORK=off "$go" mod download -json "$1@$version" 2>&1) && break
        [ "$attempt" = 3 ] || sleep 5
    done
    directory=$(echo "$told" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    [ -n "$directory" ] || { echo "crds.sh: $1@$version cannot be had: $told" >&2; exit 1; }
    shift
    for file; do
        echo "---"
        cat "$directory/$file"
    done
}

definitions github.com/cert-manager/cert-manager \
    deploy/crds/cert-manager.io_issuers.yaml \
    deploy/crds/cert-manager.io_certificates.yaml
definitions github.com/prometheus-operator/prometheus-operator \
    example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml \
    example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml
