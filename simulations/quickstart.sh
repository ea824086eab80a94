#!/usr/bin/env bash
# From a bare Debian 12 to a federated adapter: installs packages, builds, tunes 34 simulated clients on real text and
# lets base and tuned model continue the same prompts. Runs again quickly; works without a terminal.
# usage: simulations/quickstart.sh [options of rivulet simulate, e.g. --set job.num-rounds=3 --out DIR]
set -euo pipefail
cd "$(dirname "$0")/.."

deploy/install-packages.sh build
[ -f build/release/build.ninja ] || cmake --preset release -DRIVULET_TESTS=OFF >/dev/null
cmake --build build/release --target rivulet-simulate rivulet-model

out=runs before=
for word in "$@"; do
  [ "$before" = --out ] && out=$word
  case "$word" in --out=*) out=${word#--out=} ;; esac
  before=$word
done
bin=build/release/bin
run=$(readlink "$out/latest" || true)
"$bin/rivulet-simulate" simulations/scenarios/quickstart.toml "$@"
[ "$(readlink "$out/latest" || true)" != "$run" ] || exit 0  # --print-config and the like run nothing

model=simulations/models/llama-7m
run=$out/latest
tuned=("$model" --adapter "$run/adapter")
[ -d "$run/adapter" ] || tuned=("$run/model")  # with [full]
for prompt in "Love is" "The trouble with computers is" "A friend once told me"; do
  echo
  echo "prompt: $prompt"
  for side in base tuned; do
    words=("$model")
    [ "$side" = tuned ] && words=("${tuned[@]}")
    printf '  %-7s' "$side:"
    "$bin/rivulet-model" generate "${words[@]}" --prompt "$prompt" --max-new-tokens 40 --temperature 0.8 --seed 7 |
      tr '\n' ' '
    echo
  done
done
