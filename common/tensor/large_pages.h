#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

namespace rivulet {

// An allocator of zeroed memory, and for buffers that are made once: a vector's new elements are
// what the memory holds, and nobody writes zeros over those of the system. A vector that shrank and
// grows again would show its old elements. Large buffers are pages of 2 MiB where the system has
// them, a hundred of which are made instead of tens of thousands when they are first written, by
// the threads that write them.
template <typename T>
struct LargePages {
  using value_type = T;
  static constexpr size_t kPageBytes = size_t{2} << 20;

  LargePages() = default;
  template <typename U>
  LargePages(const LargePages<U>&) {}

  T* allocate(size_t count) {
    static_assert(std::is_trivially_default_constructible_v<T>);
    const size_t bytes = count * sizeof(T);
    if (bytes >= 2 * kPageBytes) return static_cast<T*>(Map(bytes));
    return static_cast<T*>(std::memset(::operator new(bytes), 0, bytes));
  }
  void deallocate(T* memory, size_t count) {
    const size_t bytes = count * sizeof(T);
    if (bytes < 2 * kPageBytes) return ::operator delete(memory);
    (void)munmap(memory, WholePages(bytes));
  }
  template <typename U>
  void construct(U*) {}
  template <typename U, typename... Arguments>
  void construct(U* element, Arguments&&... arguments) {
    ::new (static_cast<void*>(element)) U(std::forward<Arguments>(arguments)...);
  }
  template <typename U>
  bool operator==(const LargePages<U>&) const {
    return true;
  }

 private:
  static size_t WholePages(size_t bytes) {
    return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  }

  // Room for one page more, of which what is before and behind whole pages is given back.
  static void* Map(size_t bytes) {
    const size_t want = WholePages(bytes);
    void* const room = mmap(nullptr, want + kPageBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) throw std::bad_alloc();
    auto* const begin = static_cast<std::byte*>(room);
    const size_t before = -reinterpret_cast<uintptr_t>(begin) % kPageBytes;
    if (before > 0) (void)munmap(begin, before);
    (void)munmap(begin + before + want, kPageBytes - before);
#ifdef MADV_HUGEPAGE
    (void)madvise(begin + before, want, MADV_HUGEPAGE);
#endif
    return begin + before;
  }
};

}  // namespace rivulet
