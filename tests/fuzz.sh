#!/usr/bin/env bash
# Builds the parsers of foreign bytes with libFuzzer, ASan and UBSan, and searches each for a minute.
# usage: tests/fuzz.sh [ctest options]
set -euo pipefail
cd "$(dirname "$0")/.."

deploy/install-packages.sh build test clang
cmake --preset fuzz >/dev/null
cmake --build build/fuzz --target fuzzers
exec ctest --test-dir build/fuzz --output-on-failure --no-tests=error -j "$(nproc)" -R '^fuzz\.' "$@"
