#!/usr/bin/env bash
# The quickstart's federation beside its peers, in turn on this machine: seconds, tokens a second, peak memory of each run
# and the ratios. The peers' scripts and their Python come from outside the project.
# usage: peers.sh PYTHON PEFT_SCRIPT FLOWER_SCRIPT [repeats=2]
set -euo pipefail
[ $# -ge 3 ] || { sed -n 2,4p "$0" >&2; exit 2; }
python=$1 peft=$2 flower=$3 repeats=${4:-2}
root="$(cd "$(dirname "$0")/../.." && pwd)"
bin=$root/build/release/bin model=$root/simulations/models/llama-7m
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export HF_HUB_OFFLINE=1
cd "$root"

# name, then a command: its wall seconds and the largest process's MiB, with the perplexity it printed last. Flower's
# script prints "ROUND <r> ppl <p> t <s>" before the first round and after the last.
measure() {
  local name=$1 quality; shift
  /usr/bin/time -f "%e %M" -o "$out/time" "$@" >"$out/log" 2>&1 || { tail -5 "$out/log" >&2; exit 1; }
  read -r seconds kib <"$out/time"
  quality=$(grep -aoE '.*(perplexity after|all clients).*|ROUND [1-9][0-9]* ppl [0-9.]+' "$out/log" | tail -1 | tr -s ' ' || true)
  printf '%-22s %8.1f s %7.0f MiB   %s\n' "$name" "$seconds" "$((kib / 1024))" "${quality:-(printed no perplexity)}"
  echo "$seconds" >>"$out/$name"
}

ours=("$bin/rivulet-simulate" simulations/scenarios/quickstart.toml --quiet --out "$out/runs" --set evaluate.every=0)
for _ in $(seq "$repeats"); do
  measure rivulet-bfloat16 "${ours[@]}"
  measure peft-float32 "$python" "$peft" "$model"
  measure rivulet-float32 "${ours[@]}" --set model.dtype=float32
  measure flower-float32 "$python" "$flower" "$model" 10 8 8 4 2e-3
done
median() { sort -n "$out/$1" | awk '{v[NR] = $1} END {print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2}'; }
for peer in peft-float32 flower-float32; do
  for mine in rivulet-bfloat16 rivulet-float32; do
    awk -v p="$(median $peer)" -v m="$(median $mine)" -v n="$peer / $mine" 'BEGIN {printf "%-34s %.2f\n", n, p / m}'
  done
done
