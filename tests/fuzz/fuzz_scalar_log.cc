#include "aggregation/scalars/scalar_replay.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

namespace {

ScalarForm FormOf(uint8_t kind) {
  JobSpec spec;
  spec.train.estimator = "central";
  spec.train.max_steps = 4;
  spec.train.learning_rate = 0.5;
  spec.scalars.enabled = true;
  if (kind % 4 == 1) spec.scalars.combine = "vote";
  if (kind % 4 == 2) spec.scalars.pool = 4;
  if (kind % 4 == 3) spec.train.direction = "low-rank";
  if (kind % 4 != 2 && kind & 4) spec.scalars.drawn_from = "session";
  return *ScalarForm::Of(spec, {{"a", DType::kF32, {3}}, {"b", DType::kF32, {2, 5}}});
}

}  // namespace

// A kind of coefficients (the first byte) and a log: it moves a state to finite numbers or is
// refused, and what is dropped of it are whole movements.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const ScalarForm form = FormOf(data[0]);
  const std::string log(reinterpret_cast<const char*>(data + 1), size - 1);
  ParameterSet state(form.trained());
  if (Replay(form, StrategySection(), log, state).ok()) {
    Require(CheckFinite(state).ok());
    const size_t dropped = BytesBeyond(form, log, size / 2);
    Require(dropped <= log.size());
    Require(log.size() - dropped < std::max<size_t>(size / 2, 1));
    ParameterSet rest(form.trained());
    Require(Replay(form, StrategySection(), log.substr(dropped), rest).ok());
  }
  const auto waiting = WaitingRoundsOf(form, log);
  if (waiting.ok()) {
    Require(!(SignalRatio(form, *waiting) < 0));
    Require(BytesOf(*waiting) == log);
  }
  const std::vector<float> moves(4, 1.0f);
  const auto longer = Extended(form, log, {7}, moves);
  if (longer.ok()) Require(longer->size() >= log.size());
  return 0;
}
