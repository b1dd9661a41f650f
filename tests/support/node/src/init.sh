#!/bin/bash
# PID 1 of the node. It makes the machine that the kubelet expects, starts each program once what it needs is there, and
# reaps what containers leave. src/lib.rs wrote the files that the programs read, and tells the rest by variables.
set -eu

mount --make-rprivate /

# The mounts of the host go first: runc and the kubelet take the first mount of a cgroup hierarchy that they see.
hierarchies=$(awk '$3 == "cgroup" { print $2, $4 }' /proc/mounts)
umount --recursive --lazy /sys
mount -t sysfs sysfs /sys
umount --recursive --lazy /proc
mount -t proc proc /proc
mount -t tmpfs tmpfs /sys/fs/cgroup
while read -r folder options; do
  mkdir -p "$folder"
  controllers=$(tr , '\n' <<<"$options" | grep -Ex 'cpu|cpuacct|cpuset|memory|devices|freezer|blkio|pids|hugetlb|perf_event|net_cls|net_prio|name=.*' | paste -sd,)
  mount -t cgroup -o "$controllers" cgroup "$folder"
done <<<"$hierarchies"

# What is written to /var outlives a restart of the node, what is written to /run does not.
mount -t overlay -o "lowerdir=/var,upperdir=$FOLDER/var,workdir=$FOLDER/var-work" overlay /var
mount -t tmpfs tmpfs /run

# The kubelet sets these for the whole machine if they differ. It reads what it wants, and leaves the machine alone.
mkdir -p /run/sysctl
while read -r name value; do
  echo "$value" >"/run/sysctl/${name##*/}"
  mount --bind "/run/sysctl/${name##*/}" "/proc/sys/$name"
done <<'END'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
END
mount --bind "$FOLDER/resolv.conf" /etc/resolv.conf 2>/dev/null || true
mount --make-rshared /

hostname "$NAME"
ip link set lo up
# A bridge without ports bears the node's address: not every kernel has dummy interfaces.
ip link add node0 type bridge
ip address add "$ADDRESS/$PREFIX" dev node0 $([[ $ADDRESS == *:* ]] && echo nodad)
ip link set node0 up
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding

start() { # PROGRAM ARGUMENTS
  "$@" >>"$FOLDER/log/$(basename "$1").log" 2>&1 </dev/null &
}
url=http://127.0.0.1
start "$CONTROL_PLANE/etcd" --data-dir="$FOLDER/etcd" --unsafe-no-fsync --log-level=warn \
  --listen-client-urls=$url:2379 --advertise-client-urls=$url:2379 --listen-peer-urls=$url:2380 \
  --initial-advertise-peer-urls=$url:2380 --initial-cluster=default=$url:2380
start containerd --config "$FOLDER/containerd.toml"
start "$CONTROL_PLANE/kube-apiserver" --etcd-servers=$url:2379 --advertise-address="$ADDRESS" --bind-address="$ADDRESS" \
  --secure-port=6443 --service-cluster-ip-range="$SERVICES" \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
  --client-ca-file="$PKI/ca.crt" --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" \
  --kubelet-certificate-authority="$PKI/ca.crt" --kubelet-client-certificate="$PKI/apiserver-kubelet-client.crt" \
  --kubelet-client-key="$PKI/apiserver-kubelet-client.key" --kubelet-preferred-address-types=InternalIP \
  --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$PKI/tokens.pub" \
  --service-account-signing-key-file="$PKI/tokens.key"
administrator() { "$CONTROL_PLANE/kubectl" --kubeconfig="$PKI/admin.kubeconfig" "$@"; }
until administrator get --raw /readyz >/dev/null 2>&1; do sleep 0.2; done

# The only right that no default role gives: logs and exec, from the API server to the kubelet.
administrator create clusterrolebinding apiserver-kubelet-client --clusterrole=system:kubelet-api-admin \
  --user=apiserver-kubelet-client || administrator get clusterrolebinding apiserver-kubelet-client
start "$PROGRAMS/kube-controller-manager" --kubeconfig="$PKI/controller-manager.kubeconfig" \
  --use-service-account-credentials --service-account-private-key-file="$PKI/tokens.key" --root-ca-file="$PKI/ca.crt" \
  --leader-elect=false --bind-address=127.0.0.1 --node-monitor-grace-period=20s
start "$PROGRAMS/kube-scheduler" --kubeconfig="$PKI/scheduler.kubeconfig" --leader-elect=false --bind-address=127.0.0.1
start "$PROGRAMS/kubelet" --config="$FOLDER/kubelet.json" --kubeconfig="$PKI/kubelet.kubeconfig" --root-dir="$FOLDER/kubelet" \
  --cert-dir="$PKI" --hostname-override="$NAME" --node-ip="$ADDRESS"
start "$PROGRAMS/kube-proxy" --config="$FOLDER/proxy.json"

while :; do wait -n || sleep 0.2; done
