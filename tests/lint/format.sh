#!/bin/sh
# usage: format.sh CLANG_FORMAT ROOT - fails and names every tracked source that clang-format would change.
cd "$2" || exit 2
[ -n "$(git ls-files '*.cc' | head -n 1)" ] || { echo "format.sh: git lists no .cc file in $2, want a checkout" >&2; exit 1; }
git ls-files -z '*.h' '*.cc' '*.cu' '*.cuh' | xargs -0 -r "$1" --dry-run --Werror
