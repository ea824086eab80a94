#!/usr/bin/env bash
# Builds under ASan+UBSan and under TSan and runs the tests there: what needs no libtorch, or with --full everything.
# Not those labelled nightly or statistical, which look at figures: the Release suite has them.
# usage: tests/sanitizers.sh [--full] [ctest options]
set -euo pipefail
cd "$(dirname "$0")/.."
presets=(dev-core tsan-core)
if [ "${1:-}" = "--full" ]; then presets=(dev tsan); shift; fi

deploy/install-packages.sh build test
for preset in "${presets[@]}"; do
  cmake --preset "$preset" >/dev/null
  cmake --build "build/$preset"
  if ! ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "$(nproc)" -LE 'nightly|statistical' -E '^lint' "$@"; then
    echo "$preset: what the failed ones said, once more:"
    grep -E -A 6 ': Failure$|^(FAIL|ERROR): |ERROR: [A-Za-z]+Sanitizer|WARNING: ThreadSanitizer|runtime error:|^SUMMARY: ' \
      "build/$preset/Testing/Temporary/LastTest.log" | tail -n 200 || true
    exit 1
  fi
done
