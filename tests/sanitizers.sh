#!/usr/bin/env bash
# Builds under ASan+UBSan and under TSan and runs the tests there; never those labelled nightly or statistical, which
# look at figures: the Release suite has them. Without options, what CI runs, which has 40 minutes for all it does:
#   dev-core   ASan+UBSan over what needs no libtorch, but no tests/integration: under ASan daemons cost most of the time
#   tsan-core  TSan over what needs no libtorch and starts a thread, tests/integration among it
# Both go without the cases marked FIGURES, which repeat what others run once.
# Both are compiled by clang without optimisation, which takes half of GCC's time.
# dev-core goes without three checks of UBSan that cost a sixth of its build. ASan sees most of what they see: a
# null pointer that is used, a size that is overrun (object-size sees next to nothing without -O), an object that is gone
# (vptr). They alone see a null pointer that is bound and not used, and an object that lives but has another type.
# The tests' own sources go without UBSan there, which took a third of their compilation.
# With --full (nightly), presets dev and tsan: both sanitizers over everything, with every check.
# usage: tests/sanitizers.sh [--full] [ctest options]
set -euo pipefail
cd "$(dirname "$0")/.."
presets=(dev-core tsan-core)
if [ "${1:-}" = "--full" ]; then presets=(dev tsan); shift; fi

deploy/install-packages.sh build test clang
for preset in "${presets[@]}"; do
  cmake --preset "$preset" >/dev/null
  cmake --build "build/$preset"
  # One test more than cores: some wait for processes and deadlines.
  if ! ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "$(($(nproc) + 1))" -LE 'nightly|statistical' -E '^lint' "$@"; then
    echo "$preset: what the failed ones said, once more:"
    grep -E -A 6 ': Failure$|^(FAIL|ERROR): |ERROR: [A-Za-z]+Sanitizer|WARNING: ThreadSanitizer|runtime error:|^SUMMARY: ' \
      "build/$preset/Testing/Temporary/LastTest.log" | tail -n 200 || true
    exit 1
  fi
done
