#!/usr/bin/env bash
# Makes sure that what a node and its images need is there. What is missing is installed by apt as
# root; without apt or root it is named.
set -euo pipefail

declare -A package=(
    [containerd]=containerd [ctr]=containerd [runc]=runc [iptables]=iptables [ip]=iproute2
    [buildah]=buildah [busybox]=busybox-static [nsenter]=util-linux [setpriv]=util-linux
)

missing() {
    local program
    for program in "${!package[@]}"; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || echo "${package[$program]}"
    done
    [ -x /usr/lib/cni/ptp ] || [ -x /opt/cni/bin/ptp ] || echo containernetworking-plugins
}

mapfile -t wanted < <(missing | sort -u)
[ ${#wanted[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "packages.sh: a node needs ${wanted[*]} (the names are Debian's); install them first" >&2
    exit 1
fi
echo "packages.sh: installing ${wanted[*]}" >&2
exec 9>"${TMPDIR:-/tmp}/.drainhook-packages.lock"
flock 9
export DEBIAN_FRONTEND=noninteractive
{ apt-get update -q && apt-get install -y -q --no-install-recommends "${wanted[@]}"; } >&2
mapfile -t wanted < <(missing | sort -u)
[ ${#wanted[@]} -eq 0 ] || { echo "packages.sh: still missing: ${wanted[*]}" >&2; exit 1; }
