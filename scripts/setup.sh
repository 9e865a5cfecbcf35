#!/usr/bin/env bash
# Installs what Trireme's build and its clusters need on Debian: system packages, and Rust where it is missing.
# Asks nothing, says what it does, does nothing where all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(build-essential pkg-config clang libclang-dev mold ccache runc nftables iproute2 busybox-static python3 ca-certificates curl)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
command -v kubectl >/dev/null || missing+=(kubernetes-client)

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

if [ ${#missing[@]} -gt 0 ]; then
  echo "==> installing ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
fi

if ! command -v cargo >/dev/null && [ ! -x "$HOME/.cargo/bin/cargo" ]; then
  echo "==> installing Rust for this user"
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --no-modify-path
fi
if ! command -v cargo >/dev/null; then
  echo "error: cargo is in ~/.cargo/bin but not on the PATH: run  . ~/.cargo/env  and try again" >&2
  exit 1
fi
