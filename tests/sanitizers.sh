#!/usr/bin/env bash
# Builds everything without libtorch under ASan+UBSan and under TSan and runs its tests.
set -euo pipefail
cd "$(dirname "$0")/.."
deploy/install-packages.sh build test

for preset in dev-core tsan-core; do
  cmake --preset "$preset" >/dev/null
  cmake --build "build/$preset"
  TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp" \
    ctest --test-dir "build/$preset" --output-on-failure -j "$(nproc)" -LE nightly -E '^lint'
done
