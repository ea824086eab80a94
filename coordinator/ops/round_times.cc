#include "coordinator/ops/round_times.h"

namespace rivulet {

RoundTimes::RoundTimes(Federation& federation)
    : federation_(federation),
      seconds_({1, 5, 15, 60, 300, 900, 3600, 14400}),
      subscription_(federation.Subscribe("", [this](const JobEvent& event) {
        if (event.type != "round.completed") return;
        for (const auto& [key, value] : event.data) {
          const auto* milliseconds = std::get_if<int64_t>(&value);
          if (key == "milliseconds" && milliseconds != nullptr) {
            seconds_.Observe(static_cast<double>(*milliseconds) / 1000);
          }
        }
      })) {}

RoundTimes::~RoundTimes() { federation_.Unsubscribe(subscription_); }

void RoundTimes::WriteTo(Exposition& page) const {
  seconds_.WriteTo(page, "rivulet_round_duration_seconds", "From opening a round to publishing.");
}

}  // namespace rivulet
