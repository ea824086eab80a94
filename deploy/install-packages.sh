#!/usr/bin/env bash
# Installs the Debian packages of the named sections of debian-packages.txt; does nothing when all are there.
# usage: install-packages.sh SECTION...      e.g. install-packages.sh build test
set -euo pipefail
list="$(dirname "$0")/debian-packages.txt"

wanted=()
for section in "$@"; do
  grep -qx "\[$section\]" "$list" || { echo "install-packages.sh: no section '$section' in $list" >&2; exit 2; }
  mapfile -t names < <(awk -v section="[$section]" '/^\[/ {on = ($0 == section); next} on && NF && $0 !~ /^#/' "$list")
  wanted+=("${names[@]}")
done

missing=()
for name in "${wanted[@]}"; do
  dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
done
[ "${#missing[@]}" -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "install-packages.sh: need root or sudo to install: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)  # which keeps no variable of its caller
fi
echo "installing ${#missing[@]} Debian packages: ${missing[*]}" >&2
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
