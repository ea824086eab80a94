#include <ATen/ATen.h>

#include <utility>

#include "peft/method/method.h"

namespace rivulet {
namespace {

class Whole : public Method {
 public:
  explicit Whole(Manifest manifest) : manifest_(std::move(manifest)) {}

  std::string_view name() const override { return "whole"; }
  const Manifest& manifest() const override { return manifest_; }

  Adaptation Bind(std::span<const at::Tensor> tensors) const override {
    Adaptation adaptation;
    for (size_t row = 0; row < manifest_.size(); ++row) {
      adaptation.replaced[manifest_[row].name] = tensors[row];
    }
    return adaptation;
  }

 private:
  const Manifest manifest_;
};

}  // namespace

std::unique_ptr<Method> MakeWhole(Manifest manifest) {
  return std::make_unique<Whole>(std::move(manifest));
}

}  // namespace rivulet
