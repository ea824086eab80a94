#include "common/io/sha256.h"
#include "coordinator/rounds/masked_upload.h"
#include "privacy/secagg/server/server_session.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

namespace {

secagg::Params TheParams() {
  secagg::Params params;
  params.d = 8;
  params.d_aux = 5;
  params.b = 21;  // 273 bits: 7 of padding
  params.n_min = 3;
  params.n_max = 64;
  return params;
}

// The trailer's hash is made right where it would stand: nothing gets past it by chance.
std::string WithHash(std::string_view file, size_t packed) {
  std::string out(file);
  const size_t at = packed + 1 + 32 + 8;  // kind, sid, packed_bytes
  if (out.size() < at + 32) return out;
  const Sha256Digest hash = Sha256Of(out.substr(0, packed));
  std::copy(hash.begin(), hash.end(), out.begin() + at);
  return out;
}

}  // namespace

// How the upload is cut (a byte), whether its hash is right (a byte), the upload. What the check
// takes while it comes is what the protocol takes of the whole, its stated length aside, and can be
// added.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  static const secagg::Params params = TheParams();
  const size_t packed = params.packed_bytes(), cut = std::max<size_t>(data[0], 1);
  std::string file(reinterpret_cast<const char*>(data) + 2, size - 2);
  if (data[1] == 0) file = WithHash(file, packed);
  const auto check = NewMaskedUploadCheck(params, file.size());
  const auto bytes = std::as_bytes(std::span(file));
  for (size_t done = 0; done < bytes.size(); done += cut) {
    check->Feed(bytes.subspan(done, std::min(cut, bytes.size() - done)));
  }
  if (!check->Finish().ok()) return 0;
  Require(file.size() >= packed && check->trailer() == file.substr(packed));
  auto trailer = secagg::Decode<secagg::MaskedTrailer>(check->trailer());
  Require(trailer.ok());
  trailer->packed_bytes = packed;
  const std::string vector = file.substr(0, packed);
  Require(secagg::CheckMasked(params, vector, *trailer).ok());
  secagg::RingVector sum(params.b, params.length());
  Require(sum.AddPacked(vector).ok());
  return 0;
}
