#include <cmath>

#include "aggregation/fixed_point_sum.h"
#include "coordinator/rounds/update_checker.h"
#include "coordinator/rounds/update_file.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

namespace {

const Manifest& TheManifest() {
  static const Manifest manifest = {{"a", DType::kF32, {4}}, {"b", DType::kF32, {3, 2}}};
  return manifest;
}

// The same judgement of the file as a whole.
bool IsUpdate(std::span<const std::byte> file, ValuesDigest& digest) {
  const std::unique_ptr<BlobStore> blobs = MakeMemoryBlobStore();
  const std::string name = *blobs->Put(file);
  const std::unique_ptr<BlobReader> blob = *blobs->Open(name);
  uint64_t position = 0;
  const auto take = [&](size_t, size_t, std::span<const float> values) {
    digest.Add(position, values);
    position += values.size();
    const bool sane = std::all_of(values.begin(), values.end(), [](float value) {
      return std::fabs(value) < FixedPointSum::kValueLimit;  // NaN is not
    });
    return sane ? absl::OkStatus() : absl::InvalidArgumentError("a value");
  };
  return StreamTensors(*blob, TheManifest(), SafetensorsProfile::kUpload, name, take).ok();
}

}  // namespace

// An upload and how it is cut (the first byte): seen piece by piece it is judged as it is when it
// is read from its file.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t cut = std::max<size_t>(data[0], 1);
  const auto file = std::as_bytes(std::span(data + 1, size - 1));
  UpdateChecker checker(TheManifest(), file.size());
  for (size_t done = 0; done < file.size(); done += cut) {
    const auto piece = file.subspan(done, std::min(cut, file.size() - done));
    checker.Feed(std::vector<std::byte>(piece.begin(), piece.end()));
  }
  ValuesDigest digest;
  const bool fits = IsUpdate(file, digest);
  Require(checker.Finish().ok() == fits);
  if (fits) Require(checker.digest() == digest);
  return 0;
}
