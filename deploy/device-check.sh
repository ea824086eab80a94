#!/usr/bin/env bash
# Builds, tests and times everything against the libtorch of this machine's python3 instead of Debian's. Fetches nothing:
# compiler, CMake and ninja are the machine's, other libraries come from pack-dependencies.sh.
# usage: device-check.sh DEPENDENCIES.tar.xz [LOG_DIR]      RIVULET_SHARED names golden data, as for the tests
set -uo pipefail
dependencies="$(realpath "${1:?usage: device-check.sh DEPENDENCIES.tar.xz [LOG_DIR]}")"
logs="${2:+$(realpath "$2")}"
cd "$(dirname "$0")/.."
build=build/device
mkdir -p "$build/root"
logs="${logs:-$PWD/$build}"
root="$(realpath "$build/root")"

torch="$(python3 -c 'import torch; print(torch.__path__[0])')" || { echo "device-check.sh: python3 has no torch" >&2; exit 1; }
gpu='torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device"'
python3 -c "import torch; print('libtorch', torch.__version__, '|', $gpu)"
capability="$(python3 -c 'import torch; print("%d.%d" % torch.cuda.get_device_capability())' 2>/dev/null || echo 9.0)"
for tool in c++ cmake ninja nvcc; do echo "$tool: $("$tool" --version 2>&1 | grep -m1 '[0-9]\.[0-9]')"; done

tar --extract --xz --file "$dependencies" --directory "$root" || exit 1
libraries="$(dirname "$(find "$root/usr/lib" -name libprotobuf.so)")"
export PATH="$root/usr/bin:$PATH" LD_LIBRARY_PATH="$libraries" LIBRARY_PATH="$libraries"
export C_INCLUDE_PATH="$root/usr/include" CPLUS_INCLUDE_PATH="$root/usr/include"
export PKG_CONFIG_SYSROOT_DIR="$root" PKG_CONFIG_LIBDIR="$libraries/pkgconfig:$root/usr/share/pkgconfig"

step() {  # step NAME COMMAND...: its output to a file, its time and status to the terminal
  local name="$1" started=$SECONDS status=0
  shift
  "$@" >"$logs/$name.log" 2>&1 || status=$?
  echo "$name: status $status, $((SECONDS - started)) s"
  return "$status"
}
step configure cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$root/usr;$torch" \
  -DTORCH_CUDA_ARCH_LIST="$capability" || { tail -30 "$logs/configure.log"; exit 1; }
step build cmake --build "$build" --target all peft_step_bench -- -k 0 || grep -E -A4 'error|FAILED|undefined' "$logs/build.log" | head -60
step test ctest --test-dir "$build" --output-on-failure -LE nightly -E '^lint' -j "$(nproc)" --output-junit "$logs/tests.xml"
tested=$?
sed -n '/tests passed/,$p' "$logs/test.log"
for arguments in "1 8 small float32" "1 8 small bfloat16" "8 8 small float32"; do
  "$build/tests/bench/peft_step_bench" $arguments | grep lora_step
done
exit "$tested"
