#!/bin/sh
# usage: format.sh CLANG_FORMAT ROOT - fails and names every tracked source that clang-format would change.
cd "$2" || exit 2
git ls-files -z '*.h' '*.cc' '*.cu' '*.cuh' | xargs -0 -r "$1" --dry-run --Werror
