#!/usr/bin/env bash
# Are the images what they should be? Builds them and checks that
#
#   - each holds one static program and nothing else, has a user and labels, and the sidecar's is small
#     (images/inspect; images/build.sh looks each time);
#   - building them again gives the same digests, and with FROM_NOTHING=true also when everything is compiled
#     anew, from a copy of the sources in another directory;
#   - each program starts, those for the other architecture under qemu-user (Debian: qemu-user-static).
#
#   images/check.sh [shutdown-manager] [drainhook] [amd64] [arm64]      all of what is not chosen from
#
# What cannot be checked here is said, and with CI=true fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

skip() {
    echo "skipped: $*" >&2
    case ${CI-} in true | 1) exit 1 ;; esac
}

chosen=("$@") programs=() architectures=()
for word in "$@"; do
    case $word in
    amd64 | arm64) architectures+=("$word") ;;
    *) programs+=("$word") ;;
    esac
done
[ ${#programs[@]} -gt 0 ] || programs=(drainhook shutdown-manager)
[ ${#architectures[@]} -gt 0 ] || architectures=(amd64 arm64)

# Lines of "reference digest".
digests() { images/build.sh "${chosen[@]}" | awk '{ print $1, $2 }'; }

# The same of what is compiled anew elsewhere. What git does not know is not copied.
digests_elsewhere() (
    elsewhere=$(mktemp -d)
    trap 'rm -rf "$elsewhere"' EXIT
    git ls-files -z | tar --create --null --files-from - | tar --extract --directory "$elsewhere"
    REVISION=$(git rev-parse HEAD)
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
    export REVISION SOURCE_DATE_EPOCH
    cd "$elsewhere"
    digests
)

first=$(digests)
again=$(digests)
if [ "$first" != "$again" ]; then
    printf 'the same input gave other digests:\n%s\n%s\n' "$first" "$again" >&2
    exit 1
fi
if [ "${FROM_NOTHING-}" = true ]; then
    anew=$(digests_elsewhere)
    if [ "$first" != "$anew" ]; then
        printf 'compiled anew elsewhere, other digests:\n%s\n%s\n' "$first" "$anew" >&2
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
for architecture in "${architectures[@]}"; do
    for program in "${programs[@]}"; do starts "$program" "$architecture"; done
done
