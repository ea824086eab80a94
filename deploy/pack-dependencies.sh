#!/usr/bin/env bash
# Packs what a build needs beside a compiler, CMake, ninja and libtorch, for device-check.sh on a machine that can fetch
# nothing. Runs on Debian 12 after `install-packages.sh build test`.
# usage: pack-dependencies.sh OUT.tar.xz
set -euo pipefail
list="$(dirname "$0")/debian-packages.txt"
out="${1:?usage: pack-dependencies.sh OUT.tar.xz}"

# Libraries and generators of the list but libtorch, with all they depend on but the C library and what came with it.
mapfile -t ours < <(grep -E '^(lib|nlohmann|pkg-config|protobuf)' "$list" | grep -vE '^lib(torch|openblas)')
mapfile -t packages < <(apt-cache depends --recurse --installed --no-suggests --no-recommends --no-conflicts --no-breaks \
  --no-replaces --no-enhances "${ours[@]}" | grep '^[a-z]' | sort -u)
base='^(gcc-12-base|lib(c6|c-dev-bin|gcc-s1|stdc\+\+6|crypt|nsl|tirpc|gssapi|k5|krb|keyutils|com-err)|linux-|rpcsvc)'
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | grep -vE "$base")

# Headers, shared libraries, what pkg-config and CMake read, the generators; of static libraries only GoogleTest's.
dpkg -L "${packages[@]}" | sed 's,^/lib/,/usr/lib/,' | sort -u |
  grep -E '^/usr/(include|lib/[^/]+-linux-gnu|lib/cmake|share/(cmake|pkgconfig))/|^/usr/bin/(protoc|grpc_cpp_plugin|pkg-?conf(ig)?)$' |
  while read -r path; do
    case "$path" in */libg[tm][eo][sc]*.a) ;; *.a) continue ;; esac
    if [ -L "$path" ] || [ ! -d "$path" ]; then printf '%s\n' "${path#/}"; fi
  done | XZ_OPT=-T0 tar --create --xz --file "$out" --directory / --files-from -
echo "$out: $(du -h "$out" | cut -f1) of ${#packages[@]} packages"
