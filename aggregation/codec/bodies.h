#pragma once

#include <memory>

#include "aggregation/codec/body.h"

// Makers of the table in codec.cc. Settings are checked there for what is common, by each maker for
// what is its own. Errors: InvalidArgument naming the setting.

namespace rivulet {

using BodyOr = absl::StatusOr<std::unique_ptr<CodecBody>>;

BodyOr NewNoneBody(const CodecSettings&);
BodyOr NewBF16Body(const CodecSettings&);
BodyOr NewFP16Body(const CodecSettings&);
BodyOr NewInt8Body(const CodecSettings&);
BodyOr NewInt4Body(const CodecSettings&);
BodyOr NewInt2Body(const CodecSettings&);
BodyOr NewSignBody(const CodecSettings&);
BodyOr NewTopKBody(const CodecSettings&);
BodyOr NewRandomKBody(const CodecSettings&);
BodyOr NewPublicTopKBody(const CodecSettings&);
BodyOr NewRotateLatticeBody(const CodecSettings&);
BodyOr NewDriveBody(const CodecSettings&);
BodyOr NewEdenBody(const CodecSettings&);
BodyOr NewLowRankBody(const CodecSettings&);
BodyOr NewCountSketchBody(const CodecSettings&);
BodyOr NewFedObdBody(const CodecSettings&);

}  // namespace rivulet
