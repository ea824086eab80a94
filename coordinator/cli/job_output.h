#pragma once

#include <string>

#include "rivulet/v1/operations.pb.h"

namespace rivulet {

// What the commands print on stdout. The JSON forms are one line without a newline at the end.
std::string JobTable(const v1::ListReply& jobs);
std::string JobListJson(const v1::ListReply& jobs);
std::string JobText(const v1::Job& job);
std::string JobJson(const v1::Job& job);
std::string NodeTable(const v1::NodesReply& nodes);
std::string NodeListJson(const v1::NodesReply& nodes);
std::string EventJson(const v1::JobEvent& event);

}  // namespace rivulet
