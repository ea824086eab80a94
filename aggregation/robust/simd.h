#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

// Vectors of a fixed width in GCC's notation: where the processor has narrower ones the compiler
// uses several, so the lanes, and with them the bits of a result, are the same everywhere.

namespace rivulet {

using Floats8 = float __attribute__((vector_size(32)));
using Ints8 = int32_t __attribute__((vector_size(32)));
using Floats4 = float __attribute__((vector_size(16)));
using Doubles4 = double __attribute__((vector_size(32)));

// Goes with every function on the way from RunWidest to the arithmetic. Vectors are passed by
// reference: by value they would depend on the calling convention.
#define RV_INLINE __attribute__((always_inline)) inline

template <typename Vector, typename T>
RV_INLINE void Load(Vector& to, const T* from) {
  std::memcpy(&to, from, sizeof to);
}
template <typename Vector, typename T>
RV_INLINE void Store(T* to, const Vector& from) {
  std::memcpy(to, &from, sizeof from);
}

#if defined(__x86_64__)
inline bool CpuHasAvx2() {
  static const bool has = __builtin_cpu_supports("avx2");
  return has;
}
template <typename Body>
__attribute__((target("avx2"))) void RunWithAvx2(const Body& body) {
  body();
}
#else
inline bool CpuHasAvx2() { return false; }
template <typename Body>
void RunWithAvx2(const Body& body) {
  body();
}
#endif

// Runs `body`, an object whose operator() is RV_INLINE, compiled for the widest vectors this
// processor has. (Clones chosen by the loader would do, but sanitizers break them.) `widest` false
// takes the other copy, for tests.
template <typename Body>
void RunWidest(const Body& body, bool widest = true) {
  if (widest && CpuHasAvx2()) {
    RunWithAvx2(body);
  } else {
    body();
  }
}

}  // namespace rivulet
