#include "privacy/secagg/shared/lagrange.h"

#include <algorithm>
#include <optional>
#include <string>

namespace rivulet::secagg {
namespace {

using gf16::Lanes;
using Row = std::vector<uint16_t>;

// 1 / prod_{m != j} (x_j - x_m), for every j.
Row InverseDifferences(std::span<const uint16_t> xs) {
  Row inverses(xs.size());
  for (size_t first = 0; first < xs.size(); first += 16) {
    const size_t count = std::min<size_t>(16, xs.size() - first);
    Lanes product = gf16::Broadcast(1);
    for (const uint16_t other : xs) {
      Lanes difference = gf16::Broadcast(1);
      for (size_t lane = 0; lane < count; ++lane) {
        const uint16_t x = xs[first + lane];
        if (x != other) difference[lane] = x ^ other;
      }
      gf16::MulInto(product, difference);
    }
    product = gf16::InverseOf(product);
    std::copy_n(product.begin(), count, inverses.begin() + static_cast<ptrdiff_t>(first));
  }
  return inverses;
}

// S_k = sum_j v_j y_j x_j^k for k < count, of all sixteen elements. Right shares contribute
// nothing: the syndromes tell of errors alone, so what follows may branch on them.
std::vector<Lanes> SyndromesOf(std::span<const uint16_t> xs, std::span<const Lanes> values,
                               size_t count) {
  std::vector<Lanes> syndromes(count, Lanes{});
  if (count == 0) return syndromes;
  const Row inverses = InverseDifferences(xs);
  for (size_t index = 0; index < xs.size(); ++index) {
    Lanes term = values[index];
    gf16::MulInto(term, gf16::Broadcast(inverses[index]));
    const Lanes point = gf16::Broadcast(xs[index]);
    for (Lanes& syndrome : syndromes) {
      gf16::AddInto(syndrome, term);
      gf16::MulInto(term, point);
    }
  }
  return syndromes;
}

void SubtractMultiple(Row& row, uint16_t factor, const Row& other) {
  if (factor == 0) return;
  for (size_t column = 0; column < row.size(); ++column) {
    row[column] ^= gf16::Mul(factor, other[column]);
  }
}

// Rows in reduced echelon form, added one by one.
class Echelon {
 public:
  explicit Echelon(size_t columns) : pivots_(columns) {}

  void Add(Row row) {
    for (size_t column = 0; column < row.size(); ++column) {
      if (pivots_[column]) SubtractMultiple(row, row[column], *pivots_[column]);
    }
    const auto leading = std::find_if(row.begin(), row.end(), [](uint16_t at) { return at != 0; });
    if (leading == row.end()) return;
    const size_t column = static_cast<size_t>(leading - row.begin());
    const uint16_t scale = gf16::Inverse(*leading);
    for (uint16_t& entry : row) entry = gf16::Mul(entry, scale);
    for (std::optional<Row>& pivot : pivots_) {
      if (pivot) SubtractMultiple(*pivot, (*pivot)[column], row);
    }
    pivots_[column] = std::move(row);
  }

  // A vector that is not zero and orthogonal to every row; none when the rows span everything.
  std::optional<Row> Orthogonal() const {
    const auto free = std::find(pivots_.begin(), pivots_.end(), std::nullopt);
    if (free == pivots_.end()) return std::nullopt;
    const size_t column = static_cast<size_t>(free - pivots_.begin());
    Row answer(pivots_.size());
    for (size_t index = 0; index < pivots_.size(); ++index) {
      if (pivots_[index]) answer[index] = (*pivots_[index])[column];
    }
    answer[column] = 1;
    return answer;
  }

 private:
  std::vector<std::optional<Row>> pivots_;  // by the column of their leading 1
};

uint16_t PolynomialAt(const Row& coefficients, uint16_t x) {
  uint16_t value = 0;
  for (size_t degree = coefficients.size(); degree > 0; --degree) {
    value = gf16::Mul(value, x) ^ coefficients[degree - 1];
  }
  return value;
}

}  // namespace

absl::Status CheckHolders(std::span<const uint16_t> xs) {
  const auto refuse = [](std::string what) {
    return Refuse(absl::StatusCode::kInvalidArgument, "shares: " + what);
  };
  if (xs.empty()) return refuse("got none");
  std::vector<uint16_t> sorted(xs.begin(), xs.end());
  std::sort(sorted.begin(), sorted.end());
  if (sorted.front() == 0) return refuse("got x = 0, which is the secret itself");
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) return refuse("got x = " + std::to_string(*twice) + " twice");
  return absl::OkStatus();
}

std::vector<uint16_t> LagrangeAt(uint16_t at, std::span<const uint16_t> xs) {
  const auto same = std::find(xs.begin(), xs.end(), at);
  if (same != xs.end()) {
    Row unit(xs.size());
    unit[static_cast<size_t>(same - xs.begin())] = 1;
    return unit;
  }
  uint16_t product = 1;
  for (const uint16_t x : xs) product = gf16::Mul(product, at ^ x);
  Row coefficients = InverseDifferences(xs);
  for (size_t first = 0; first < xs.size(); first += 16) {
    const size_t count = std::min<size_t>(16, xs.size() - first);
    Lanes distance = gf16::Broadcast(1);
    for (size_t lane = 0; lane < count; ++lane) distance[lane] = at ^ xs[first + lane];
    Lanes answer = gf16::InverseOf(distance);
    gf16::MulInto(answer, gf16::Broadcast(product));
    for (size_t lane = 0; lane < count; ++lane) {
      uint16_t& coefficient = coefficients[first + lane];
      coefficient = gf16::Mul(coefficient, answer[lane]);
    }
  }
  return coefficients;
}

// With at most e = `correctable` wrong points X: sum_l L_l S_{k+l} = sum over X of (something that
// is not zero) x^k L(x), for k < xs.size() - threshold - e. That many powers (at least e) of e
// distinct points are independent, so the sums vanish exactly when L vanishes on X: any solution of
// degree <= e that is not zero is a multiple of the locator of X.
std::vector<bool> LocateErrors(std::span<const uint16_t> xs, std::span<const Lanes> values,
                               size_t threshold, size_t correctable) {
  const std::vector<Lanes> syndromes = SyndromesOf(xs, values, xs.size() - threshold);
  Echelon rows(correctable + 1);
  for (size_t lane = 0; lane < 16; ++lane) {
    for (size_t power = 0; power + correctable < syndromes.size(); ++power) {
      Row row(correctable + 1);
      for (size_t degree = 0; degree <= correctable; ++degree) {
        row[degree] = syndromes[power + degree][lane];
      }
      rows.Add(std::move(row));
    }
  }
  const std::optional<Row> locator = rows.Orthogonal();
  if (!locator) return std::vector<bool>(xs.size(), true);
  std::vector<bool> suspect(xs.size());
  for (size_t index = 0; index < xs.size(); ++index) {
    suspect[index] = PolynomialAt(*locator, xs[index]) == 0;
  }
  return suspect;
}

}  // namespace rivulet::secagg
