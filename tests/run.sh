#!/usr/bin/env bash
# Installs what is missing, builds Release, runs the suite; the last lines are ctest's own summary.
# usage: tests/run.sh [--all] [ctest options]     --all builds the benchmarks and runs the `nightly` label too
set -euo pipefail
cd "$(dirname "$0")/.."

exclude=(-LE nightly) targets=(all)
if [ "${1:-}" = "--all" ]; then exclude=() targets=(all benchmarks); shift; fi

deploy/install-packages.sh build test
cmake --preset release -DRIVULET_TESTS=ON >/dev/null  # the quickstart configures without tests
cmake --build build/release --target "${targets[@]}"
# One test more than cores: some wait for processes and deadlines.
exec ctest --test-dir build/release --output-on-failure --no-tests=error -j "$(($(nproc) + 1))" "${exclude[@]}" "$@"
