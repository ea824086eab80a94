#include "peft/zeroth_order/cma_es.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/random.h"

namespace rivulet {
namespace {

// A pivot that rounding has eaten would make a factor of NaN.
constexpr double kLeastPivot = 1e-14;

// The factor is as old as a tenth of the time in which the covariance changes (tutorial, B.2).
uint64_t RenewalOf(const CmaEsConstants& constants, int64_t n) {
  const double rate = (constants.c_1 + constants.c_mu) * static_cast<double>(n) * 10;
  return std::max<uint64_t>(1, static_cast<uint64_t>(1 / rate));
}

double SquareOf(std::span<const double> values) {
  double sum = 0;
  for (double value : values) sum += value * value;
  return sum;
}

}  // namespace

CmaEsConstants CmaEsConstantsOf(int64_t count, int population) {
  CmaEsConstants c;
  const double n = static_cast<double>(count);
  const int parents = population / 2;
  for (int rank = 1; rank <= parents; ++rank)
    c.weights.push_back(std::log((population + 1) / 2.0) - std::log(rank));
  const double sum = std::accumulate(c.weights.begin(), c.weights.end(), 0.0);
  for (double& weight : c.weights) weight /= sum;
  c.mu_eff = 1 / SquareOf(c.weights);
  c.c_sigma = (c.mu_eff + 2) / (n + c.mu_eff + 5);
  c.d_sigma = 1 + 2 * std::max(0.0, std::sqrt((c.mu_eff - 1) / (n + 1)) - 1) + c.c_sigma;
  c.c_c = (4 + c.mu_eff / n) / (n + 4 + 2 * c.mu_eff / n);
  c.c_1 = 2 / ((n + 1.3) * (n + 1.3) + c.mu_eff);
  c.c_mu = std::min(1 - c.c_1, 2 * (c.mu_eff - 2 + 1 / c.mu_eff) / ((n + 2) * (n + 2) + c.mu_eff));
  c.chi = std::sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n));
  return c;
}

CmaEs::CmaEs(std::span<const float> mean, const Settings& settings)
    : n_(static_cast<int64_t>(mean.size())),
      settings_(settings),
      constants_(CmaEsConstantsOf(n_, settings.population)),
      renewal_(RenewalOf(constants_, n_)),
      mean_(mean.begin(), mean.end()),
      sigma_(settings.sigma),
      path_sigma_(mean.size()),
      path_c_(mean.size()),
      covariance_(mean.size() * mean.size()),
      z_(mean.size() * settings.population),
      y_(z_.size()),
      z_mean_(mean.size()),
      y_mean_(mean.size()) {
  for (int64_t i = 0; i < n_; ++i) covariance_[i * n_ + i] = 1;
  factor_ = covariance_;
  Draw();
}

void CmaEs::Draw() {
  std::vector<float> normal(z_.size());
  RandomStream(settings_.root, Purpose::kDirection, iteration_).FillGauss(0, normal);
  std::copy(normal.begin(), normal.end(), z_.begin());
  std::fill(y_.begin(), y_.end(), 0.0);
  for (int k = 0; k < settings_.population; ++k) {
    const double* z = z_.data() + k * n_;
    double* y = y_.data() + k * n_;
    for (int64_t i = 0; i < n_; ++i) {
      const double* row = factor_.data() + i * n_;
      for (int64_t j = i; j < n_; ++j) y[j] += z[i] * row[j];
    }
  }
}

void CmaEs::Candidate(int k, std::span<float> out) const {
  for (int64_t i = 0; i < n_; ++i) out[i] = static_cast<float>(mean_[i] + sigma_ * y_[k * n_ + i]);
}

void CmaEs::Tell(std::span<const double> losses) {
  std::vector<int> order(losses.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int left, int right) { return losses[left] < losses[right]; });
  order.resize(constants_.weights.size());
  Recombine(order);
  for (int64_t i = 0; i < n_; ++i) mean_[i] += sigma_ * y_mean_[i];

  const CmaEsConstants& c = constants_;
  const double n = static_cast<double>(n_);
  const double keep = 1 - c.c_sigma, step = std::sqrt(c.c_sigma * (2 - c.c_sigma) * c.mu_eff);
  for (int64_t i = 0; i < n_; ++i) path_sigma_[i] = keep * path_sigma_[i] + step * z_mean_[i];
  const double length = std::sqrt(SquareOf(path_sigma_));
  ++iteration_;
  const double settled = std::sqrt(1 - std::pow(keep, 2 * static_cast<double>(iteration_)));
  const bool stalled = length / settled >= (1.4 + 2 / (n + 1)) * c.chi;
  MoveCovariance(order, stalled);
  sigma_ *= std::exp(c.c_sigma / c.d_sigma * (length / c.chi - 1));
  if (iteration_ % renewal_ == 0) Factorise();
  Draw();
}

void CmaEs::Recombine(std::span<const int> order) {
  std::fill(z_mean_.begin(), z_mean_.end(), 0.0);
  std::fill(y_mean_.begin(), y_mean_.end(), 0.0);
  for (size_t rank = 0; rank < order.size(); ++rank) {
    const double weight = constants_.weights[rank];
    const double* z = z_.data() + order[rank] * n_;
    const double* y = y_.data() + order[rank] * n_;
    for (int64_t i = 0; i < n_; ++i) z_mean_[i] += weight * z[i];
    for (int64_t i = 0; i < n_; ++i) y_mean_[i] += weight * y[i];
  }
}

// `stalled`: a path of the step size that is much too long would stretch the covariance instead of
// the step (tutorial, h_sigma = 0).
void CmaEs::MoveCovariance(std::span<const int> order, bool stalled) {
  const CmaEsConstants& c = constants_;
  const double step = stalled ? 0 : std::sqrt(c.c_c * (2 - c.c_c) * c.mu_eff);
  for (int64_t i = 0; i < n_; ++i) path_c_[i] = (1 - c.c_c) * path_c_[i] + step * y_mean_[i];
  const double lost = stalled ? c.c_1 * c.c_c * (2 - c.c_c) : 0;
  const double keep = 1 - c.c_1 - c.c_mu + lost;
  const auto add = [&](int64_t i, double factor, const double* v) {
    double* row = covariance_.data() + i * n_;
    const double left = factor * v[i];
    for (int64_t j = i; j < n_; ++j) row[j] += left * v[j];
  };
  for (int64_t i = 0; i < n_; ++i) {
    double* row = covariance_.data() + i * n_;
    for (int64_t j = i; j < n_; ++j) row[j] *= keep;
    add(i, c.c_1, path_c_.data());
    for (size_t rank = 0; rank < order.size(); ++rank)
      add(i, c.c_mu * c.weights[rank], y_.data() + order[rank] * n_);
  }
}

// Cholesky by rows of the upper triangle: every inner loop runs over neighbours.
void CmaEs::Factorise() {
  factor_ = covariance_;
  for (int64_t i = 0; i < n_; ++i) {
    double* row = factor_.data() + i * n_;
    const double least = kLeastPivot * covariance_[i * n_ + i];
    const double inverse = 1 / std::sqrt(std::max(row[i], least));
    row[i] = std::max(row[i], least);
    for (int64_t j = i; j < n_; ++j) row[j] *= inverse;
    for (int64_t below = i + 1; below < n_; ++below) {
      double* other = factor_.data() + below * n_;
      const double left = row[below];
      for (int64_t j = below; j < n_; ++j) other[j] -= left * row[j];
    }
  }
}

}  // namespace rivulet
