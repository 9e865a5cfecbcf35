#!/usr/bin/env bash
# A real kube-apiserver 1.37 on three members of our store, everything beside real etcd: run.sh BINARY [PART...]
# Parts: replay (all recorded transcripts), killed (the same while the leader is killed every 4 s), storage
# (k8s.io/apiserver's own storage tests), bench. All but bench when none is given. Arguments of run.py follow a --.
# Builds what it needs with shared/oracles/build.sh (Go; 10 minutes the first time). Fails when something passes
# on etcd and not on ours, or when nothing could be run.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
bin=$(realpath "$1"); shift
export PYTHONDONTWRITEBYTECODE=1
export SHARED=${SHARED:-$(realpath "$here/../../../../shared")}
parts=(); while [ $# -gt 0 ] && [ "$1" != -- ]; do parts+=("$1"); shift; done
[ $# -eq 0 ] || shift
[ ${#parts[@]} -gt 0 ] || parts=(replay killed storage)
command -v go >/dev/null || { echo "SKIPPED: Go is missing, which the real programs are built with"; exit 0; }
"$SHARED/oracles/build.sh" etcd kube-apiserver kubectl kube-controller-manager kube-scheduler >/dev/null

failed=0
for part in "${parts[@]}"; do
  echo "==> kubernetes: $part"
  case $part in
    killed) python3 "$here/run.py" replay "$bin" --kill "${KILL_EVERY:-4}" "$@" || failed=1 ;;
    *) python3 "$here/run.py" "$part" "$bin" "$@" || failed=1 ;;
  esac
done
exit $failed
