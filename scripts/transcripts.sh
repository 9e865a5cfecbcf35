#!/usr/bin/env bash
# Replays recorded behaviour of a real Kubernetes against a cluster of ours: transcripts.sh BINARY [FILE...].
# FILE is any part of a name below the transcripts (api/patch-, kubectl/apply); all when none is given.
# Each folder gets a cluster set up as the recorded one was: no nodes, an admin with a bearer token (a client
# certificate would beat the tokens that cases send), an RSA key for ServiceAccounts; controllers for cluster/ only.
# KUBECTL names the kubectl of the recordings' version. OUT=DIR keeps what differed, a file each.
# Prints passed and failed per file; fails when something could not be replayed, not when something differs.
set -euo pipefail
bin=$(realpath "$1"); shift
transcripts=$(realpath "${TRANSCRIPTS:-../shared/transcripts}")
[ -d "$transcripts" ] || { echo "error: no transcripts in $transcripts: set TRANSCRIPTS" >&2; exit 1; }
work=$(mktemp -d)
out=${OUT:-$work/out}; mkdir -p "$out"
pid=
cleanup() {
  [ -z "$pid" ] || { kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; } || true
  rm -rf "$work"
}
trap cleanup EXIT

# kubectl: the one that is asked for, else the one the oracles were built with, else whichever there is.
want=$(sed -n 's/^# Recorded behaviour of Kubernetes //p' "$transcripts/README.md" 2>/dev/null)
built=${ORACLES:-$HOME/.cache/trireme-oracles}/bin/kubectl
[ -n "${KUBECTL:-}" ] || { [ -x "$built" ] && KUBECTL=$built; } || KUBECTL=kubectl
version=$("$KUBECTL" version --client 2>/dev/null | sed -n 's/^Client Version: v//p' || true)
[ -n "$version" ] || echo "note: $KUBECTL does not run: kubectl/ can't be replayed; set KUBECTL" >&2
[ -z "$version" ] || [ "$version" = "$want" ] ||
  echo "note: kubectl is $version, the recordings are of $want: what depends on the version will differ" >&2

start() { # start NAME FLAGS...
  local name=$1 dir=$work/$1; shift
  openssl genrsa -out "$dir.sa.key" 2048 2>/dev/null
  local token; token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  (umask 077; echo "$token,admin,admin,\"system:masters\"" >"$dir.tokens")
  "$bin" dev --masters 1 --nodes 0 --api-port 0 --runtime simulated --profile upstream --data-dir "$dir" \
    --server-flag="--token-auth-file=$dir.tokens" \
    --server-flag="--service-account-signing-key-file=$dir.sa.key" "$@" >"$dir.out" 2>&1 &
  pid=$!
  for _ in $(seq 600); do
    grep -q '^ready' "$dir.out" && { as_admin "$dir" "$token"; return; }
    kill -0 $pid 2>/dev/null || { cat "$dir.out" >&2; exit 1; }
    sleep 0.1
  done
  cat "$dir.out" >&2
  echo "error: the cluster did not get ready" >&2; exit 1
}
as_admin() { # as_admin DIR TOKEN: writes $kubeconfig
  kubeconfig=$1.kubeconfig
  local url; url=$(grep -oE 'https://127\.0\.0\.1:[0-9]+' "$1/kubeconfig" | head -1)
  (umask 077; cat >"$kubeconfig") <<K
apiVersion: v1
kind: Config
clusters: [{name: trireme, cluster: {server: "$url", certificate-authority: "$1/pki/ca.crt"}}]
users: [{name: admin, user: {token: "$2"}}]
contexts: [{name: trireme, context: {cluster: trireme, user: admin}}]
current-context: trireme
K
}
stop() { kill "$pid"; wait "$pid" || true; pid=; }

filters=("$@")
wanted() {
  [ ${#filters[@]} -gt 0 ] || return 0
  local w; for w in "${filters[@]}"; do [[ $1 == *$w* ]] && return; done; return 1
}
any() { local f; for f in "$transcripts/$1"/*; do wanted "${f#"$transcripts"/}" && return; done; return 1; }

replay() { # replay FILE: one line, and what differs in $out
  local name=${1#"$transcripts"/} file=$1
  local log=$out/${name//\//-}.txt
  if [[ $name == kubectl/* ]]; then
    # The files end in the empty line that parts cases; session.py takes it for output of the last command.
    file=$work/sessions/${1##*/}; mkdir -p "$work/sessions"
    sed '${/^$/d}' "$1" >"$file"
    python3 "$transcripts/session.py" replay --jobs 2 --kubectl "$KUBECTL" --kubeconfig "$kubeconfig" "$file" >"$log" 2>&1 || true
  else
    python3 "$transcripts/transcript.py" replay --show "${SHOW:-40}" --kubeconfig "$kubeconfig" "$file" >"$log" 2>&1 || true
  fi
  local last; last=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -1)
  printf '%-62s %s\n' "$name" "${last:-did not run: $(tail -1 "$log")}" | tee -a "$work/results"
}
export -f replay; export transcripts out work KUBECTL
run() { # run AT-ONCE PATTERN
  local f; for f in "$transcripts"/$2; do
    if wanted "${f#"$transcripts"/}"; then printf '%s\0' "$f"; fi
  done | kubeconfig=$kubeconfig xargs -0 -r -P "$1" -I{} bash -c 'replay {}'
}

touch "$work/results"
if any api || { [ -n "$version" ] && any kubectl; }; then
  start alone --components store,apiserver
  run 2 'api/*.json'
  [ -z "$version" ] || run 1 'kubectl/*.session'
  stop
fi
if any cluster; then
  start whole --server-flag=--allocate-node-cidrs=false
  run 2 'cluster/controllers-*.json'
  run 1 'cluster/scheduler-*.json'  # these count all nodes of the cluster: one after another
  stop
fi
awk '$3 == "passed," { p += $2; f += $4 } $3 != "passed," { n++ }
  END { printf "%d passed, %d failed", p, f; if (n) printf ", %d files did not run", n; print ""; exit n > 0 }' "$work/results"
