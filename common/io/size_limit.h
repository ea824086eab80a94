#pragma once

#include <csignal>

namespace rivulet {

// From now on a write beyond the limit on file sizes (RLIMIT_FSIZE, `ulimit -f`) is an error like
// that of a full disk (EFBIG), and no longer the end of the process by SIGXFSZ. For every main.
inline void MakeSizeLimitAnError() { std::signal(SIGXFSZ, SIG_IGN); }

}  // namespace rivulet
