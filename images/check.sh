#!/usr/bin/env bash
# Are the images what they should be? Builds both for both architectures and checks that
#
#   - building them again gives the same digests, with FROM_NOTHING=true also when everything is
#     compiled anew in another directory;
#   - each program starts, those for the other architecture under qemu-user (Debian: qemu-user-static).
#
# What cannot be checked here is said, and with CI=true fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

skip() {
    echo "skipped: $*" >&2
    case ${CI-} in true | 1) exit 1 ;; esac
}

# Lines of "reference digest".
digests() { images/build.sh "$@" | awk '{ print $1, $2 }'; }

first=$(digests)
again=$(digests)
if [ "$first" != "$again" ]; then
    printf 'the same input gave other digests:\n%s\n%s\n' "$first" "$again" >&2
    exit 1
fi
if [ "${FROM_NOTHING-}" = true ]; then
    elsewhere=$(mktemp -d)
    trap 'rm -rf "$elsewhere"' EXIT
    anew=$(BUILD_DIRECTORY=$elsewhere digests)
    if [ "$first" != "$anew" ]; then
        printf 'compiled anew, other digests:\n%s\n%s\n' "$first" "$anew" >&2
        exit 1
    fi
fi
printf '%s\nthe same when built again\n' "$first"

# Starts PROGRAM of ARCHITECTURE with `--version`, or says why not.
starts() {
    local binary=target/images/$1/$2/$1 emulator=
    case $2:$(uname -m) in
    amd64:x86_64 | arm64:aarch64) ;;
    amd64:*) emulator=qemu-x86_64-static ;;
    arm64:*) emulator=qemu-aarch64-static ;;
    esac
    if [ -n "$emulator" ] && ! command -v "$emulator" >/dev/null; then
        skip "$1 for $2 is not started: no $emulator (Debian: qemu-user-static)"
        return
    fi
    echo "$2: $($emulator "$binary" --version)"
    [ "$1" = drainhook ] || return 0
    # Asked to, jemalloc tells its settings first; no other allocator answers.
    local told
    told=$(_RJEM_MALLOC_CONF=confirm_conf:true $emulator "$binary" --version 2>&1)
    if ! grep --quiet -- "--with-malloc-conf.*oversize_threshold" <<< "$told"; then
        echo "$binary does not run on jemalloc with the settings of .cargo/config.toml" >&2
        exit 1
    fi
}
for architecture in amd64 arm64; do
    for program in drainhook shutdown-manager; do starts "$program" "$architecture"; done
done
