#include "common/settings/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "common/settings/settings.h"

namespace rivulet {
namespace {

// The message as the inside of a JSON string.
class JsonText final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    static constexpr char kDigits[] = "0123456789abcdef";
    for (const char letter : message.payload) {
      const auto byte = static_cast<unsigned char>(letter);
      if (letter == '"' || letter == '\\') {
        out.push_back('\\');
        out.push_back(letter);
      } else if (byte < 0x20 || byte == 0x7f) {
        for (const char part : {'\\', 'u', '0', '0', kDigits[byte >> 4], kDigits[byte & 15]}) {
          out.push_back(part);
        }
      } else {
        out.push_back(letter);
      }
    }
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<JsonText>();
  }
};

absl::Status BadWord(std::string_view key, const std::string& got, std::string_view want) {
  return BadSetting(std::string(key) + ": got '" + got + "', want " + std::string(want));
}

}  // namespace

absl::Status StartLog(const std::string& component, const std::string& level,
                      const std::string& format) {
  const auto parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off) {
    return BadWord("log.level", level, "error, warn, info, debug or trace");
  }
  if (format != "text" && format != "json" && format != "auto") {
    return BadWord("log.format", format, "text, json or auto");
  }
  auto logger = spdlog::stderr_color_mt(component);
  if (format == "json" || (format == "auto" && isatty(2) == 0)) {
    auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
    formatter->add_flag<JsonText>('*').set_pattern(
        R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","component":"%n","msg":"%*"})");
    logger->set_formatter(std::move(formatter));
  } else {
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
  }
  logger->set_level(parsed);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
  return absl::OkStatus();
}

}  // namespace rivulet
