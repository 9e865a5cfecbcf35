# What commands of the sessions may use. Sourced by every bash that runs one.
set -o pipefail
# Jobs in the background can be interrupted.
set -m

# lines N COMMAND...: runs a command until it has said N lines, interrupts it, and says what it said.
lines() { python3 "$HERE/lines.py" "$@"; }

# idof FILE: the id in a file that holds an answer such as `lease 1234 granted with TTL(5s)`.
idof() { grep -oE '\b[0-9a-f]{12,16}\b' "$1" | head -1; }

# eventually COMMAND...: repeats it until it succeeds; gives up after 20 s.
eventually() {
  local n
  for n in $(seq 200); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  echo "never: $*"; return 1
}

# lead N: makes member N the leader and waits until all members know it.
lead() {
  local to=M$1 url
  for url in "$E1" "$E2" "$E3"; do etcdctl --endpoints "$url" move-leader "${!to}" >/dev/null 2>&1; done
  for url in "$E1" "$E2" "$E3"; do eventually knows_leader "$url" "${!to}" || return; done
}
knows_leader() { [ "$(leader_by "$1")" = "$2" ]; }
leader_by() {
  etcdctl --endpoints "$1" endpoint status -w fields | sed -n 's/^"Leader" : //p' | xargs -r printf '%x'
}
