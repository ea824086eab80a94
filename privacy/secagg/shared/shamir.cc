#include "privacy/secagg/shared/shamir.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "privacy/secagg/shared/lagrange.h"

namespace rivulet::secagg {
namespace {

using gf16::Lanes;

Lanes LanesOf(std::span<const uint8_t, 32> bytes) {
  Lanes lanes;
  for (size_t lane = 0; lane < lanes.size(); ++lane) {
    lanes[lane] = static_cast<uint16_t>(bytes[2 * lane] | bytes[2 * lane + 1] << 8);
  }
  return lanes;
}

void StoreLanes(const Lanes& lanes, std::span<uint8_t, 32> bytes) {
  for (size_t lane = 0; lane < lanes.size(); ++lane) {
    bytes[2 * lane] = static_cast<uint8_t>(lanes[lane]);
    bytes[2 * lane + 1] = static_cast<uint8_t>(lanes[lane] >> 8);
  }
}

void Wipe(Lanes& lanes) { OPENSSL_cleanse(lanes.data(), sizeof lanes); }

std::vector<uint16_t> HoldersOf(std::span<const Share> shares) {
  std::vector<uint16_t> xs;
  for (const Share& share : shares) xs.push_back(share.x);
  return xs;
}

// sum_j coefficients[j] value_j: a polynomial of every element at one point.
Lanes WeightedSum(std::span<const Share> shares, std::span<const uint16_t> coefficients) {
  Lanes sum{};
  for (size_t index = 0; index < shares.size(); ++index) {
    Lanes term = LanesOf(shares[index].value);
    gf16::MulInto(term, gf16::Broadcast(coefficients[index]));
    gf16::AddInto(sum, term);
    Wipe(term);
  }
  return sum;
}

absl::Status CheckShares(std::span<const Share> shares, size_t threshold) {
  if (threshold == 0 || shares.size() < threshold) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "shares: got " + std::to_string(shares.size()) + ", want at least " +
                      std::to_string(std::max<size_t>(threshold, 1)));
  }
  return CheckHolders(HoldersOf(shares));
}

}  // namespace

Share::~Share() { OPENSSL_cleanse(value.data(), value.size()); }

std::vector<Share> SplitWith(const Secret32& secret, size_t holders,
                             std::span<const Secret32> coefficients) {
  if (holders > 65535 || coefficients.size() >= holders) {
    std::fputs("rivulet: sharing: want 1 <= threshold <= holders <= 65535\n", stderr);
    std::abort();
  }
  std::vector<Share> shares(holders);
  for (size_t holder = 0; holder < holders; ++holder) {
    const uint16_t x = static_cast<uint16_t>(holder + 1);
    const Lanes point = gf16::Broadcast(x);
    Lanes value{};
    for (size_t degree = coefficients.size(); degree > 0; --degree) {
      gf16::AddInto(value, LanesOf(coefficients[degree - 1].bytes()));
      gf16::MulInto(value, point);
    }
    gf16::AddInto(value, LanesOf(secret.bytes()));
    shares[holder].x = x;
    StoreLanes(value, shares[holder].value);
    Wipe(value);
  }
  return shares;
}

std::vector<Share> Split(const Secret32& secret, size_t holders, size_t threshold,
                         Entropy& entropy) {
  std::vector<Secret32> coefficients(std::max<size_t>(threshold, 1) - 1);
  for (Secret32& each : coefficients) entropy.Fill(each.mutable_bytes());
  return SplitWith(secret, threshold == 0 ? 0 : holders, coefficients);
}

absl::StatusOr<Secret32> Combine(std::span<const Share> shares, size_t threshold) {
  RV_RETURN_IF_ERROR(CheckShares(shares, threshold));
  const std::span<const Share> first = shares.first(threshold);
  RV_ASSIGN_OR_RETURN(const Reconstructor reconstructor, Reconstructor::Make(HoldersOf(first)));
  return reconstructor.Combine(first);
}

absl::StatusOr<Reconstructor> Reconstructor::Make(std::vector<uint16_t> xs) {
  RV_RETURN_IF_ERROR(CheckHolders(xs));
  Reconstructor made;
  made.coefficients_ = LagrangeAt(0, xs);
  made.xs_ = std::move(xs);
  return made;
}

absl::StatusOr<Secret32> Reconstructor::Combine(std::span<const Share> shares) const {
  const bool same = std::equal(shares.begin(), shares.end(), xs_.begin(), xs_.end(),
                               [](const Share& share, uint16_t x) { return share.x == x; });
  if (!same) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "shares: got other holders than the coefficients are for");
  }
  Lanes sum = WeightedSum(shares, coefficients_);
  Secret32 secret;
  StoreLanes(sum, secret.mutable_bytes());
  Wipe(sum);
  return secret;
}

absl::StatusOr<Corrected> CombineWithErrors(std::span<const Share> shares, size_t threshold) {
  RV_RETURN_IF_ERROR(CheckShares(shares, threshold));
  const size_t correctable = (shares.size() - threshold) / 2;
  const std::vector<uint16_t> xs = HoldersOf(shares);
  std::vector<Lanes> values;
  for (const Share& share : shares) values.push_back(LanesOf(share.value));
  // Shares that are surely right: those where the locator is not zero.
  const std::vector<bool> suspect = LocateErrors(xs, values, threshold, correctable);
  for (Lanes& each : values) Wipe(each);
  std::vector<Share> trusted;
  for (size_t index = 0; index < shares.size() && trusted.size() < threshold; ++index) {
    if (!suspect[index]) trusted.push_back(shares[index]);
  }
  const auto refuse = [&] {
    return Refuse(absl::StatusCode::kDataLoss,
                  "shares: got more wrong ones than " + std::to_string(correctable));
  };
  if (trusted.size() < threshold) return refuse();
  const std::vector<uint16_t> trusted_xs = HoldersOf(trusted);
  Corrected corrected;
  for (const Share& share : shares) {
    Lanes wanted = WeightedSum(trusted, LagrangeAt(share.x, trusted_xs));
    Lanes got = LanesOf(share.value);
    if (wanted != got) corrected.faulty_x.push_back(share.x);
    Wipe(wanted), Wipe(got);
  }
  if (corrected.faulty_x.size() > correctable) return refuse();
  std::sort(corrected.faulty_x.begin(), corrected.faulty_x.end());
  RV_ASSIGN_OR_RETURN(corrected.secret, Combine(trusted, threshold));
  return corrected;
}

}  // namespace rivulet::secagg
