#!/usr/bin/env bash
# Replays recorded behaviour of a real Kubernetes against a cluster of ours: transcripts.sh BINARY [FILE...].
# api/ and kubectl/ run on a server whose controllers are off, cluster/ on one with them and no nodes.
# Prints passed and failed per file; its exit code says whether all could be replayed, not whether all passed.
set -euo pipefail
bin=$1; shift
transcripts=$(realpath "${TRANSCRIPTS:-../shared/transcripts}")
[ -d "$transcripts" ] || { echo "error: no transcripts in $transcripts: set TRANSCRIPTS" >&2; exit 1; }
work=$(mktemp -d)
pid=
cleanup() { [ -z "$pid" ] || { kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; } || true; rm -rf "$work"; }
trap cleanup EXIT

start() { # start NAME FLAGS...: a cluster of one master without nodes
  local name=$1; shift
  "$bin" dev --masters 1 --nodes 0 --api-port 0 --runtime simulated --profile upstream --data-dir "$work/$name" "$@" >"$work/$name.out" 2>&1 &
  pid=$!
  for _ in $(seq 300); do
    grep -q '^ready' "$work/$name.out" && { kubeconfig=$work/$name/kubeconfig; return; }
    kill -0 $pid 2>/dev/null || { cat "$work/$name.out" >&2; exit 1; }
    sleep 0.1
  done
  echo "error: the cluster did not get ready" >&2; exit 1
}
stop() { kill "$pid"; wait "$pid" || true; pid=; }

wanted() { [ $# -eq 1 ] || { local f=$1; shift; for w in "$@"; do [[ $f == *$w* ]] && return; done; return 1; }; }
total_passed=0 total_failed=0
count() { # count FILE OUTPUT
  local last; last=$(grep -E '^[0-9]+ passed, [0-9]+ failed' <<<"$2" | tail -1)
  printf '%-60s %s\n' "${1#"$transcripts"/}" "${last:-did not run}"
  [ -z "$last" ] || { read -r p _ f _ <<<"$last"; total_passed=$((total_passed + p)); total_failed=$((total_failed + f)); }
}

filters=("$@")
[ ${#filters[@]} -gt 0 ] || filters=(api/ kubectl/ cluster/)
run() { # run FOLDER/GLOB PYTHON-SCRIPT ARGS...
  local glob=$1; shift
  for file in "$transcripts"/$glob; do
    wanted "${file#"$transcripts"/}" "${filters[@]}" || continue
    count "$file" "$(python3 "$transcripts/$1" replay --kubeconfig "$kubeconfig" "${@:2}" "$file" 2>&1 || true)"
  done
}

start alone --components store,apiserver
run 'api/*.json' transcript.py
run 'kubectl/*.session' session.py --kubectl "${KUBECTL:-kubectl}"
stop
start whole
run 'cluster/*.json' transcript.py
stop
echo "$total_passed passed, $total_failed failed"
