#include "simulations/rounding/seeded_rounding.h"

#include "aggregation/codec/linear.h"
#include "common/random.h"

namespace rivulet {
namespace {

class SeededWords final : public RoundingSource {
 public:
  explicit SeededWords(RandomStream stream) : words_(stream) {}
  void Fill(std::span<uint32_t> words) override {
    words_.Fill(position_, words);
    position_ += words.size();
  }

 private:
  const PhiloxWords words_;
  uint64_t position_ = 0;
};

}  // namespace

RoundingMaker SeededRounding() {
  return [](const UploadKey& upload, uint64_t seed) -> std::unique_ptr<RoundingSource> {
    const uint64_t root = RootOf(seed, upload.round, upload.client);
    return std::make_unique<SeededWords>(RandomStream(root, Purpose::kRounding, upload.attempt));
  };
}

}  // namespace rivulet
