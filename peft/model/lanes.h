#pragma once

#include <string_view>
#include <vector>

#include "peft/model/network.h"

// Several passes over one batch as a single one: the rows of all lanes go through the frozen
// weights together, and what is trained differs by lane. Forward only.

namespace rivulet {

// So many copies of the batch behind one another. The batch is that of BehindPrompt.
Batch InLanes(Batch batch, int64_t lanes);

// Whether the tensor is of a head of classification or of what pools for it: it sees one row of a
// sequence.
bool IsClassifierTensor(std::string_view name);

// The sum of losses of each lane, nats: [pass.lanes]; those of BatchLoss over the lane's own
// adaptation but for rounding. Tensors of `adaptation` may have a dimension [lanes] in front:
// low-rank factors, bottlenecks, prompts, and of those replaced the ones of IsClassifierTensor.
// Memory grows with the number of lanes. Throws c10::Error under autograd, with gradients of single
// examples, or where another tensor is trained whole.
std::vector<double> LaneLosses(const Network& network, const Batch& batch, Task task,
                               const Adaptation& adaptation, Pass& pass);

}  // namespace rivulet
