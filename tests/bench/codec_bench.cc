// Encoding and decoding of every codec beside reading the same numbers from memory, in one run, on
// one thread. Speed is that of the f32 input; the relative squared error stands beside it, so that
// a fast but worse codec does not win; `fresh` is encoding into memory that was never used.
// "masked" is EncodeUpdate and DecodeSum: all that a client does before its masks, and the
// coordinator after them. Prints JSON lines. Not a test.
//   codec_bench [values=67108864] [repeats=3] [codec]
#include <openssl/evp.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "aggregation/codec/codec.h"
#include "aggregation/codec/lattice.h"
#include "aggregation/codec/linear.h"
#include "common/random.h"
#include "privacy/masking/masked_vector.h"

namespace rivulet {
namespace {

// Processor time of this thread: on a shared machine, waiting for a turn is not counted.
double Seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

template <typename Work>
double Best(int repeats, Work&& work) {
  double best = 1e30;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const double start = Seconds();
    work();
    best = std::min(best, Seconds() - start);
  }
  return best;
}

// AES-256-CTR, as a client would draw its rounding words.
class AesRounding : public RoundingSource {
 public:
  AesRounding() : context_(EVP_CIPHER_CTX_new()) {
    const unsigned char key[32] = {1}, iv[16] = {2};
    EVP_EncryptInit_ex(context_.get(), EVP_aes_256_ctr(), nullptr, key, iv);
  }
  void Fill(std::span<uint32_t> words) override {
    zeros_.resize(std::max(zeros_.size(), words.size_bytes()));
    int written = 0;
    EVP_EncryptUpdate(context_.get(), reinterpret_cast<unsigned char*>(words.data()), &written,
                      zeros_.data(), static_cast<int>(words.size_bytes()));
  }

 private:
  struct Free {
    void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
  };
  std::unique_ptr<EVP_CIPHER_CTX, Free> context_;
  std::vector<unsigned char> zeros_;
};

uint64_t ReadAll(std::span<const float> values) {
  uint64_t sums[32] = {};
  const auto* words = reinterpret_cast<const uint64_t*>(values.data());
  for (size_t at = 0; at + 32 <= values.size() / 2; at += 32) {
    for (size_t lane = 0; lane < 32; ++lane) sums[lane] += words[at + lane];
  }
  uint64_t sum = 0;
  for (const uint64_t lane : sums) sum += lane;
  return sum;
}

// Normal numbers whose deviation changes from row to row, as that of an adapter does.
ParameterSet MakeUpdate(int64_t values) {
  ParameterSet update({{"delta", DType::kF32, {std::max<int64_t>(1, values / 4096), 4096}}});
  const std::span<float> all = update.floats(0);
  RandomStream(1, Purpose::kDirection, 0).FillGauss(0, all);
  for (size_t at = 0; at < all.size(); ++at) {
    all[at] *= 1e-3f * static_cast<float>(1 + (at / 4096) % 7);
  }
  return update;
}

double SquaredNorm(std::span<const float> x) {
  double sum = 0;
  for (const float value : x) sum += double{value} * value;
  return sum;
}

double Nmse(std::span<const float> x, std::span<const float> y) {
  double error = 0;
  for (size_t at = 0; at < x.size(); ++at) {
    error += (double{x[at]} - double{y[at]}) * (double{x[at]} - double{y[at]});
  }
  return error / SquaredNorm(x);
}

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  std::abort();
}

void Print(const std::string& what, double bytes, double wire, double encode, double cold,
           double decode, double read, double nmse) {
  std::printf("{\"bench\":\"%s\",\"bits_per_number\":%.3f,", what.c_str(), wire * 32 / bytes);
  std::printf("\"encode_gb_per_s\":%.2f,\"encode_fresh_gb_per_s\":%.2f,\"decode_gb_per_s\":%.2f,",
              bytes / encode / 1e9, bytes / cold / 1e9, bytes / decode / 1e9);
  std::printf("\"dram_read_gb_per_s\":%.2f,\"encode_ratio\":%.3f,\"decode_ratio\":%.3f,",
              bytes / read / 1e9, read / encode, read / decode);
  std::isnan(nmse) ? std::printf("\"nmse\":null}\n") : std::printf("\"nmse\":%.3e}\n", nmse);
  std::fflush(stdout);
}

struct Subject {
  std::string label;
  CodecSettings settings;
  bool with_residual = false;
};

std::vector<Subject> Subjects() {
  return {{"none", {.name = "none"}},
          {"bf16", {.name = "bf16"}},
          {"fp16", {.name = "fp16"}},
          {"int8", {.name = "int8"}},
          {"int4", {.name = "int4"}},
          {"int2", {.name = "int2"}},
          {"sign", {.name = "sign"}},
          {"sign, residual", {.name = "sign"}, true},
          {"top-k 1 %", {.name = "top-k"}},
          {"top-k 1 %, residual", {.name = "top-k"}, true},
          {"random-k 1 %", {.name = "random-k"}},
          {"random-k 1 %, residual", {.name = "random-k"}, true},
          {"public-top-k 1 %, residual", {.name = "public-top-k"}, true},
          {"rotate-lattice 8 bits", {.name = "rotate-lattice"}},
          {"rotate-lattice 4 bits", {.name = "rotate-lattice", .bits = 4}},
          {"drive", {.name = "drive"}},
          {"eden 2 bits", {.name = "eden"}},
          {"low-rank 4", {.name = "low-rank"}},
          {"count-sketch", {.name = "count-sketch"}},
          {"fed-obd", {.name = "fed-obd"}},
          {"int8, zstd", {.name = "int8", .zstd = true}}};
}

void RunCodec(const Subject& subject, const ParameterSet& update, int repeats) {
  const auto codec = *MakeCodec(subject.settings);
  AesRounding rounding;
  const ParameterSet previous = update;
  const uint32_t blocks[] = {0};
  CodecContext context{.root = 1, .previous = &previous, .blocks = blocks, .rounding = &rounding};
  ParameterSet residual, out(update.manifest());
  if (subject.with_residual) {
    residual = ParameterSet(update.manifest());
    context.residual = &residual;
  }
  const double bytes = 4.0 * static_cast<double>(update.floats(0).size());
  volatile uint64_t sink = 0;
  // Once before: its memory and that of the output are then used again.
  double read = 1e30, encode = 1e30, cold = 1e30, decode = 1e30;
  std::string payload;
  for (int repeat = 0; repeat <= repeats; ++repeat) {
    if (repeat == 1) encode = decode = 1e30;
    read = std::min(read, Best(1, [&] { sink = sink + ReadAll(update.floats(0)); }));
    encode = std::min(encode, Best(1, [&] { Require(codec->EncodeTo(update, context, payload)); }));
    cold = std::min(cold, Best(1, [&] { Require(codec->Encode(update, context).status()); }));
    decode = std::min(decode, Best(1, [&] { Require(codec->Decode(payload, context, out)); }));
  }
  // With a residual, a single payload is no estimate of a single update.
  const double nmse = subject.with_residual ? std::nan("") : Nmse(update.floats(0), out.floats(0));
  Print(subject.label, bytes, static_cast<double>(payload.size()), encode, cold, decode, read,
        nmse);
}

// What a client does before masking: rotation of 2^16 and rounding to 8 bits, and back.
void RunSecure(const ParameterSet& update, int repeats) {
  const std::span<const float> x = update.floats(0);
  const auto rotation =
      *NewRotation(16, std::make_shared<PhiloxWords>(RandomStream(1, Purpose::kRotation, 0)));
  std::vector<float> rotated(rotation->OutputSize(x.size())), back(x.size());
  std::vector<int32_t> integers(rotated.size());
  AesRounding rounding;
  const LatticeParams params{.p = 8, .v = 0.03};
  volatile uint64_t sink = 0;
  const double read = Best(repeats, [&] { sink = sink + ReadAll(x); });
  const double project = Best(repeats, [&] { rotation->Project(x, rotated); });
  const double round =
      Best(repeats, [&] { (void)QuantiseToLattice(rotated, params, rounding, integers); });
  const double widen = Best(repeats, [&] { DequantiseSum(integers, params.scale(), 1, rotated); });
  const double expand = Best(repeats, [&] { rotation->Expand(rotated, back); });
  const double bytes = 4.0 * static_cast<double>(x.size()), nmse = Nmse(x, back);
  Print("stage: rotation", bytes, bytes, project, project, expand, read, nmse);
  Print("stage: lattice 8 bits", bytes, bytes / 4, round, round, widen, read, nmse);
}

struct MaskedSubject {
  const char* codec;
  double fraction = 0.01;
};

constexpr MaskedSubject kMasked[] = {{"none"},         {"int8"},     {"int4"},         {"int2"},
                                     {"drive"},        {"random-k"}, {"public-top-k"}, {"low-rank"},
                                     {"count-sketch"}, {"power-sgd"}};

// What a client does to its update before it masks it, and the coordinator to an opened sum, here
// of one client; `first`: of power-sgd, the first pass's mean, then this is the second.
DecodedSum RunMaskedPass(const std::string& label, const MaskedForm& form, uint64_t round,
                         std::span<const float> previous, const ParameterSet& update, int repeats) {
  const secagg::Params params = form.ParamsOf({.round = round, .attempt = 1, .cohort = 8});
  const MaskedForm::Maps maps = *form.MapsOf(round, {1}, {2}, previous);
  EntropyRounding rounding(SystemEntropy());
  ParameterSet residual(update.manifest());
  volatile uint64_t sink = 0;
  double read = 1e30, encode = 1e30, decode = 1e30;
  absl::StatusOr<EncodedUpdate> encoded = absl::UnknownError("");
  absl::StatusOr<DecodedSum> decoded = absl::UnknownError("");
  for (int repeat = 0; repeat < repeats; ++repeat) {
    read = std::min(read, Best(1, [&] { sink = sink + ReadAll(update.floats(0)); }));
    if (form.feedback()) std::ranges::fill(residual.floats(0), 0.0f);
    encode = std::min(encode, Best(1, [&] {
                        encoded = EncodeUpdate(form, maps, params, update, 1, {1, 1, 1, 1},
                                               SystemEntropy(), rounding,
                                               form.feedback() ? &residual : nullptr);
                      }));
    Require(encoded.status());
    decode = std::min(
        decode, Best(1, [&] { decoded = DecodeSum(form, maps, params, encoded->vector, 1); }));
    Require(decoded.status());
  }
  const double bytes = 4.0 * static_cast<double>(update.floats(0).size());
  const double nmse =
      form.feedback() ? std::nan("") : Nmse(update.floats(0), decoded->mean.floats(0));
  Print(label, bytes, static_cast<double>(params.packed_bytes()), encode, encode, decode, read,
        nmse);
  return *std::move(decoded);
}

void RunMasked(const MaskedSubject& subject, const ParameterSet& update, int repeats) {
  JobSpec spec;
  spec.job.min_clients = 4;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.compression.codec = subject.codec;
  spec.compression.fraction = subject.fraction;
  if (spec.compression.codec == "drive") {  // unbiased up to its range
    spec.secure_aggregation.range = std::sqrt(SquaredNorm(update.floats(0)));
  }
  const MaskedForm form = *MaskedForm::Of(spec, update.manifest());
  const std::string label = std::string("masked ") + subject.codec;
  const std::span<const float> moved =
      form.chooses_by_movement() ? update.floats(0) : std::span<const float>();
  const DecodedSum first = RunMaskedPass(label, form, 1, moved, update, repeats);
  if (!form.two_passes()) return;
  RunMaskedPass(label + ", second pass", form.OfSecondPass(std::string(64, '0')), 2, first.reduced,
                update, repeats);
}

int64_t Argument(int count, char** arguments, int position, int64_t absent) {
  return count > position ? std::max(1ll, std::atoll(arguments[position])) : absent;
}

}  // namespace
}  // namespace rivulet

int main(int count, char** arguments) {
  using namespace rivulet;
  const ParameterSet update = MakeUpdate(Argument(count, arguments, 1, 64 << 20));
  const int repeats = static_cast<int>(Argument(count, arguments, 2, 3));
  const std::string only = count > 3 ? arguments[3] : "";
  for (const Subject& subject : Subjects()) {
    if (subject.label.find(only) != std::string::npos) RunCodec(subject, update, repeats);
  }
  for (const MaskedSubject& subject : kMasked) {
    if (("masked " + std::string(subject.codec)).find(only) != std::string::npos) {
      RunMasked(subject, update, repeats);
    }
  }
  if (std::string("stage").find(only) != std::string::npos) RunSecure(update, repeats);
}
