#pragma once

#include <c10/util/Exception.h>

#include <new>

#include "common/status.h"

namespace rivulet {

// The one place where exceptions of libtorch become a Status: Internal with its message,
// ResourceExhausted when memory ran out. `body` returns a Status or StatusOr.
template <typename Body>
auto Guarded(Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const c10::Error& error) {
    return Refuse(absl::StatusCode::kInternal, error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return WithExit(Refuse(absl::StatusCode::kResourceExhausted, "out of memory"),
                    ExitCode::kResource);
  } catch (const std::exception& error) {
    return Refuse(absl::StatusCode::kInternal, error.what());
  }
}

}  // namespace rivulet
