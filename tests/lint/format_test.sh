#!/bin/sh
# usage: format_test.sh CLANG_FORMAT - format.sh finds a planted violation, and no tree without sources well formatted.
set -eu
checker="$(cd "$(dirname "$0")" && pwd)/format.sh"
tree="$(mktemp -d)"
trap 'rm -rf "$tree"' EXIT
fails() { ! sh "$checker" "$1" "$tree" >/dev/null 2>&1 || { echo "FAIL: format.sh accepted $2" >&2; exit 1; }; }
fails "$1" "a folder that is no repository"
git -C "$tree" init -q
fails "$1" "a repository without sources"
echo 'BasedOnStyle: Google' >"$tree/.clang-format"
printf 'int main() { return 0; }\n' >"$tree/main.cc"
git -C "$tree" add .
sh "$checker" "$1" "$tree"
printf 'int main( ) {return 0;}\n' >"$tree/main.cc"
fails "$1" "a planted violation"
