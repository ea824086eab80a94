#include <cstdlib>

#include "privacy/secagg/shared/mask_kernel.h"

namespace rivulet::secagg {

TileKernel TileKernelFor(MaskKernel) { return {}; }
void ExpandRoundKeys(const Mask&, RoundKeys&) { std::abort(); }

}  // namespace rivulet::secagg
