#include "peft/trainer/process.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <malloc.h>

namespace rivulet {
namespace {

bool Prepare() {
  // Activations are megabytes that come and go every step: without this each of them is mapped,
  // faulted in page by page and unmapped.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  // The thresholds hold for the main arena alone; those of other threads give whole heaps back.
  mallopt(M_ARENA_MAX, 1);
  // libtorch reaches OpenBLAS through libblas.so.3; there is no header to ask.
  if (void* symbol = dlsym(RTLD_DEFAULT, "openblas_set_num_threads")) {
    reinterpret_cast<void (*)(int)>(symbol)(1);
  }
  return true;
}

}  // namespace

void PrepareProcess() {
  static const bool done = Prepare();
  (void)done;
}

void SetComputeThreads(int threads) { at::set_num_threads(threads); }

}  // namespace rivulet
