#pragma once

#include <cstdint>

namespace rivulet::kernels {

// Row-wise parts of a transformer block, fp32, contiguous rows, on the calling thread.

// y = x * rsqrt(mean(x^2) + eps) * weight; `scale` [rows] keeps rsqrt(...) for the backward pass.
//   x, y [rows, width], weight [width]
void RmsNorm(const float* x, const float* weight, float eps, int64_t rows, int64_t width, float* y,
             float* scale);

// dx [rows, width] from dy; weight frozen.
void RmsNormBackward(const float* x, const float* weight, const float* scale, const float* dy,
                     int64_t rows, int64_t width, float* dx);

// y = silu(gate) * up.
//   gate_up [rows, 2 * width]: gate, then up; y [rows, width]
void SwiGlu(const float* gate_up, int64_t rows, int64_t width, float* y);

// d_gate_up [rows, 2 * width] from dy [rows, width].
void SwiGluBackward(const float* gate_up, const float* dy, int64_t rows, int64_t width,
                    float* d_gate_up);

// Rotates the halves of each head: (a, b) -> (a c - b s, b c + a s).
//   x    [rows, heads, head_dim], rows `stride` apart, in place
//   cosine, sine  [length, head_dim / 2]; row r uses position r % length
// `direction` -1 undoes +1.
void Rotate(float* x, int64_t rows, int64_t stride, int64_t heads, int64_t head_dim,
            const float* cosine, const float* sine, int64_t length, float direction);

}  // namespace rivulet::kernels
