#pragma once

namespace rivulet {

// Settings of libraries that belong to the process, made once, by a program that trains before it
// starts a thread, else by the first tuner: freed memory is kept for the next step instead of going
// back to the kernel, and the BLAS starts no threads of its own, since clients run side by side.
// Safe from many threads.
void PrepareProcess();

// Threads libtorch may use inside a call from this thread.
void SetComputeThreads(int threads);

}  // namespace rivulet
