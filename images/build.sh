#!/usr/bin/env bash
# Builds the images that are shipped, without a daemon and reproducibly: the same sources, compiler
# and SOURCE_DATE_EPOCH (default: the time of the last commit) give the same digests on any machine.
#
#   images/build.sh [shutdown-manager] [drainhook] [amd64] [arm64]      all of what is not chosen from
#
# Writes target/images/{shutdown-manager,drainhook}.tar, OCI archives for all architectures asked for, looks
# at what is in them (images/inspect), and prints each with its digest. BUILD_DIRECTORY names another place
# to compile in, REVISION the commit of sources that are not in a repository.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

images=() architectures=()
for word in "$@"; do
    case $word in
    shutdown-manager | drainhook) images+=("$word") ;;
    amd64 | arm64) architectures+=("$word") ;;
    *) echo "build.sh: unknown '$word'; known are shutdown-manager, drainhook, amd64, arm64" >&2; exit 1 ;;
    esac
done
[ ${#images[@]} -gt 0 ] || images=(shutdown-manager drainhook)
[ ${#architectures[@]} -gt 0 ] || architectures=(amd64 arm64)

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
revision=${REVISION:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
registry=ghcr.io/drainhook
output=target/images

# Paths of this machine do not belong into a binary: a panic names its source file.
home=${CARGO_HOME:-$HOME/.cargo}
export RUSTFLAGS="--remap-path-prefix=$home=/cargo --remap-path-prefix=$PWD=/drainhook"
# These come from .cargo/config.toml alone: cargo hands them on to the tests that call this, and a build
# script that sees one in its environment for the first time compiles all anew.
unset "${!JEMALLOC_SYS_@}" "${!X86_64_UNKNOWN_LINUX_MUSL_JEMALLOC_SYS_@}" \
    "${!AARCH64_UNKNOWN_LINUX_MUSL_JEMALLOC_SYS_@}"
# Other flags than the tests' own builds have, hence another directory: neither throws the other away.
export CARGO_TARGET_DIR=${BUILD_DIRECTORY:-$PWD/target/images-build}

target_of() {
    case $1 in
    amd64) echo x86_64-unknown-linux-musl ;;
    arm64) echo aarch64-unknown-linux-musl ;;
    esac
}

# What a build for the other architecture needs besides rustc's target; the sidecar has no C in it.
toolchain() {
    local package=$1 architecture=${2%%-*} variable=${2//-/_} compiler
    if [ "$package" = drainhook-webhook ]; then
        # errexit does not hold in a function whose status is asked for.
        compiler=$(images/compiler "$architecture") || return 1
        export "CC_$variable=$compiler"
    fi
    [ "$architecture" = "$(uname -m)" ] || export "CARGO_TARGET_${variable^^}_LINKER=rust-lld"
}

# build PACKAGE BINARY PROFILE ARCHITECTURE
build() {
    local target
    target=$(target_of "$4")
    rustup target list --installed | grep -qx "$target" || rustup target add "$target"
    (toolchain "$1" "$target" && nice cargo build --locked --package "$1" --bin "$2" --profile "$3" --target "$target")
    mkdir -p "$output/$2/$4"
    cp "$CARGO_TARGET_DIR/$target/$3/$2" "$output/$2/$4/$2"
}

# image DIRECTORY PACKAGE BINARY PROFILE
image() {
    local directory=$1 package=$2 binary=$3 profile=$4 architecture digest
    for architecture in "${architectures[@]}"; do build "$package" "$binary" "$profile" "$architecture"; done
    digest=$(images/image.sh "$registry/$binary:v$version" "$output/$binary.tar" "$output/$binary" \
        "$(IFS=,; echo "${architectures[*]}")" --file "$directory/Containerfile" \
        --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
        --build-arg "CREATED=$(date --utc --date "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)")
    images/inspect "$output/$binary.tar" "$binary" "$version" "${architectures[@]}" >&2
    echo "$registry/$binary:v$version $digest $output/$binary.tar"
}

for name in "${images[@]}"; do
    case $name in
    shutdown-manager) image sidecar shutdown-manager shutdown-manager sidecar ;;
    drainhook) image webhook drainhook-webhook drainhook release ;;
    esac
done
