#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <new>

namespace rivulet {

// An allocator that asks for pages of 2 MiB where a buffer is large enough to have some: the system
// then makes a hundred pages instead of tens of thousands when it is first written. Only a wish;
// without transparent huge pages it is an ordinary allocation.
template <typename T>
struct LargePages {
  using value_type = T;
  static constexpr size_t kPageBytes = size_t{2} << 20;

  LargePages() = default;
  template <typename U>
  LargePages(const LargePages<U>&) {}

  T* allocate(size_t count) {
    const size_t bytes = count * sizeof(T);
    if (bytes < 2 * kPageBytes) return static_cast<T*>(::operator new(bytes));
    void* const memory =
        std::aligned_alloc(kPageBytes, (bytes + kPageBytes - 1) / kPageBytes * kPageBytes);
    if (memory == nullptr) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t count) {
    if (count * sizeof(T) < 2 * kPageBytes) return ::operator delete(memory);
    std::free(memory);
  }
  template <typename U>
  bool operator==(const LargePages<U>&) const {
    return true;
  }
};

}  // namespace rivulet
