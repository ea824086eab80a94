#include "peft/kernels/rows.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "peft/kernels/rows.cc"
#include "hwy/foreach_target.h"  // compiles this file once per instruction set
//
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace rivulet::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::ScalableTag<float>;

// Sum of term(i) over whole vectors and tail(i) over the rest, in a fixed order.
template <typename Term, typename Tail>
HWY_INLINE float Sum(int64_t n, Term term, Tail tail) {
  const Tag d;
  const int64_t lanes = hn::Lanes(d);
  auto even = hn::Zero(d), odd = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    even = hn::Add(even, term(i));
    odd = hn::Add(odd, term(i + lanes));
  }
  for (; i + lanes <= n; i += lanes) even = hn::Add(even, term(i));
  float total = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (; i < n; ++i) total += tail(i);
  return total;
}

void RmsNormRows(const float* x, const float* weight, float eps, int64_t rows, int64_t width,
                 float* y, float* scale) {
  const Tag d;
  const int64_t lanes = hn::Lanes(d);
  for (int64_t row = 0; row < rows; ++row, x += width, y += width) {
    const float squares = Sum(
        width,
        [&](int64_t i) HWY_ATTR {
          const auto v = hn::LoadU(d, x + i);
          return hn::Mul(v, v);
        },
        [&](int64_t i) { return x[i] * x[i]; });
    const float r = 1.0f / std::sqrt(squares / static_cast<float>(width) + eps);
    scale[row] = r;
    const auto factor = hn::Set(d, r);
    int64_t i = 0;
    for (; i + lanes <= width; i += lanes) {
      hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, x + i), factor), hn::LoadU(d, weight + i)), d, y + i);
    }
    for (; i < width; ++i) y[i] = x[i] * r * weight[i];
  }
}

// With n = x r: dx = r (dy w - n mean(dy w n)).
void RmsNormBackwardRows(const float* x, const float* weight, const float* scale, const float* dy,
                         int64_t rows, int64_t width, float* dx) {
  const Tag d;
  const int64_t lanes = hn::Lanes(d);
  for (int64_t row = 0; row < rows; ++row, x += width, dy += width, dx += width) {
    const float dot = Sum(
        width,
        [&](int64_t i) HWY_ATTR {
          return hn::Mul(hn::Mul(hn::LoadU(d, dy + i), hn::LoadU(d, weight + i)),
                         hn::LoadU(d, x + i));
        },
        [&](int64_t i) { return dy[i] * weight[i] * x[i]; });
    const float r = scale[row];
    const float pull = dot * r * r * r / static_cast<float>(width);
    const auto factor = hn::Set(d, r), back = hn::Set(d, -pull);
    int64_t i = 0;
    for (; i + lanes <= width; i += lanes) {
      const auto dn = hn::Mul(hn::Mul(hn::LoadU(d, dy + i), hn::LoadU(d, weight + i)), factor);
      hn::StoreU(hn::MulAdd(hn::LoadU(d, x + i), back, dn), d, dx + i);
    }
    for (; i < width; ++i) dx[i] = dy[i] * weight[i] * r - x[i] * pull;
  }
}

template <typename V>
HWY_INLINE V Sigmoid(V x) {
  const Tag d;
  const auto one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, hn::Exp(d, hn::Neg(x))));
}

void SwiGluRows(const float* gate_up, int64_t rows, int64_t width, float* y) {
  const Tag d;
  const int64_t lanes = hn::Lanes(d);
  for (int64_t row = 0; row < rows; ++row, gate_up += 2 * width, y += width) {
    const float* up = gate_up + width;
    int64_t i = 0;
    for (; i + lanes <= width; i += lanes) {
      const auto gate = hn::LoadU(d, gate_up + i);
      hn::StoreU(hn::Mul(hn::Mul(gate, Sigmoid(gate)), hn::LoadU(d, up + i)), d, y + i);
    }
    for (; i < width; ++i) y[i] = gate_up[i] / (1.0f + std::exp(-gate_up[i])) * up[i];
  }
}

// d gate = dy up s (1 + gate (1 - s)), d up = dy gate s with s = sigmoid(gate).
void SwiGluBackwardRows(const float* gate_up, const float* dy, int64_t rows, int64_t width,
                        float* d_gate_up) {
  const Tag d;
  const int64_t lanes = hn::Lanes(d);
  const auto one = hn::Set(d, 1.0f);
  for (int64_t row = 0; row < rows; ++row) {
    const float* gates = gate_up + row * 2 * width;
    const float* ups = gates + width;
    const float* above = dy + row * width;
    float* d_gate = d_gate_up + row * 2 * width;
    float* d_up = d_gate + width;
    int64_t i = 0;
    for (; i + lanes <= width; i += lanes) {
      const auto gate = hn::LoadU(d, gates + i), up = hn::LoadU(d, ups + i);
      const auto g = hn::LoadU(d, above + i);
      const auto s = Sigmoid(gate);
      const auto slope = hn::Mul(s, hn::MulAdd(gate, hn::Sub(one, s), one));
      hn::StoreU(hn::Mul(hn::Mul(g, up), slope), d, d_gate + i);
      hn::StoreU(hn::Mul(hn::Mul(g, gate), s), d, d_up + i);
    }
    for (; i < width; ++i) {
      const float s = 1.0f / (1.0f + std::exp(-gates[i]));
      d_gate[i] = above[i] * ups[i] * (s * (1.0f + gates[i] * (1.0f - s)));
      d_up[i] = above[i] * gates[i] * s;
    }
  }
}

void RotateRows(float* x, int64_t rows, int64_t stride, int64_t heads, int64_t head_dim,
                const float* cosine, const float* sine, int64_t length, float direction) {
  const Tag d;
  const int64_t lanes = hn::Lanes(d), half = head_dim / 2;
  const auto sign = hn::Set(d, direction);
  for (int64_t row = 0; row < rows; ++row) {
    const float* c = cosine + row % length * half;
    const float* s = sine + row % length * half;
    for (int64_t head = 0; head < heads; ++head) {
      float* low = x + row * stride + head * head_dim;
      float* high = low + half;
      int64_t i = 0;
      for (; i + lanes <= half; i += lanes) {
        const auto a = hn::LoadU(d, low + i), b = hn::LoadU(d, high + i);
        const auto cv = hn::LoadU(d, c + i), sv = hn::Mul(hn::LoadU(d, s + i), sign);
        hn::StoreU(hn::Sub(hn::Mul(a, cv), hn::Mul(b, sv)), d, low + i);
        hn::StoreU(hn::Add(hn::Mul(b, cv), hn::Mul(a, sv)), d, high + i);
      }
      for (; i < half; ++i) {
        const float a = low[i], b = high[i], sv = s[i] * direction;
        low[i] = a * c[i] - b * sv;
        high[i] = b * c[i] + a * sv;
      }
    }
  }
}

}  // namespace rivulet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rivulet::kernels {
HWY_EXPORT(RmsNormRows);
HWY_EXPORT(RmsNormBackwardRows);
HWY_EXPORT(SwiGluRows);
HWY_EXPORT(SwiGluBackwardRows);
HWY_EXPORT(RotateRows);

void RmsNorm(const float* x, const float* weight, float eps, int64_t rows, int64_t width, float* y,
             float* scale) {
  HWY_DYNAMIC_DISPATCH(RmsNormRows)(x, weight, eps, rows, width, y, scale);
}
void RmsNormBackward(const float* x, const float* weight, const float* scale, const float* dy,
                     int64_t rows, int64_t width, float* dx) {
  HWY_DYNAMIC_DISPATCH(RmsNormBackwardRows)(x, weight, scale, dy, rows, width, dx);
}
void SwiGlu(const float* gate_up, int64_t rows, int64_t width, float* y) {
  HWY_DYNAMIC_DISPATCH(SwiGluRows)(gate_up, rows, width, y);
}
void SwiGluBackward(const float* gate_up, const float* dy, int64_t rows, int64_t width,
                    float* d_gate_up) {
  HWY_DYNAMIC_DISPATCH(SwiGluBackwardRows)(gate_up, dy, rows, width, d_gate_up);
}
void Rotate(float* x, int64_t rows, int64_t stride, int64_t heads, int64_t head_dim,
            const float* cosine, const float* sine, int64_t length, float direction) {
  HWY_DYNAMIC_DISPATCH(RotateRows)
  (x, rows, stride, heads, head_dim, cosine, sine, length, direction);
}

}  // namespace rivulet::kernels
#endif
