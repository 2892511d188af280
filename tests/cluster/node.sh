#!/usr/bin/env bash
# A Kubernetes node: containerd, kubelet and kube-proxy, in namespaces that end with this script.
#
#   nsenter --net=NAMESPACE unshare --fork --pid --mount --mount-proc --kill-child node.sh DIRECTORY
#
# It is the first process of its PID namespace, so the end of it is the end of everything that it
# started. DIRECTORY holds the configuration of each part (see tests/src/cluster/node.rs), the
# programs kubelet and kube-proxy and the image of the pods' sandboxes, and takes all data and logs.
set -euo pipefail
directory=$1
export PATH=$PATH:/usr/sbin:/sbin
# What nodes pull comes from a registry in their own network, which no proxy reaches.
unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy

# A mount of the node's own over every place that the parts write to whatever they are told.
private_mounts() {
    mkdir -p "$directory"/{log,var-lib/upper,var-lib/work,sysctl}
    mount --bind "$directory/log" /var/log
    mount -t tmpfs -o mode=755 tmpfs /run
    mount -t overlay -o "lowerdir=/var/lib,upperdir=$directory/var-lib/upper,workdir=$directory/var-lib/work" \
        overlay /var/lib || mount -t tmpfs -o mode=755 tmpfs /var/lib
    # The volumes that the kubelet mounts have to appear in the containers.
    mount --make-rshared /
}

# The kubelet sets these for the whole machine where they are not yet what it wants. It reads them
# back from files of the node's own instead.
private_sysctls() {
    local setting file
    for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
        kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
        file=$directory/sysctl/$(tr / . <<<"${setting%=*}")
        echo "${setting#*=}" >"$file"
        if [ -e "/proc/sys/${setting%=*}" ]; then mount --bind "$file" "/proc/sys/${setting%=*}"; fi
    done
}

declare -A parts
start() {
    local name=$1
    shift
    "$@" >"$directory/log/$name.log" 2>&1 &
    parts[$!]=$name
}

private_mounts
private_sysctls
echo 1 >/proc/sys/net/ipv4/ip_forward

start containerd containerd --config "$directory/containerd.toml"
for _ in $(seq 600); do
    if ctr version >/dev/null 2>&1; then break; fi
    sleep 0.1
done
ctr --namespace k8s.io images import "$directory/sandbox.tar"

start kubelet "$directory/kubelet" --config "$directory/kubelet.yaml" \
    --kubeconfig "$directory/kubeconfig-kubelet" --hostname-override "$(cat "$directory/name")" \
    --node-ip "$(cat "$directory/address")" --root-dir "$directory/kubelet-data" \
    --cert-dir "$directory/kubelet-data/pki"
start kube-proxy "$directory/kube-proxy" --config "$directory/kube-proxy.yaml" \
    --hostname-override "$(cat "$directory/name")"

# Whatever ends first ends the node; its log says why.
wait -n -p ended || status=$?
echo "node.sh: ${parts[$ended]} ended with ${status:-0}" >&2
exit 1
