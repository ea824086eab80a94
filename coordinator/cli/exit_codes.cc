#include "coordinator/cli/exit_codes.h"

namespace rivulet {

std::string ExitCodesText() {
  return "Exit codes, the same in every program:\n"
         "  0    done; also a clean stop after SIGTERM\n"
         "  1    a failure not listed below\n"
         "  2    usage: unknown option, missing argument, no confirmation\n"
         "  3    configuration or job file: unknown key, bad value, contradicting keys\n"
         "  4    connection or identity: unreachable, certificate expired or foreign, role, port "
         "in "
         "use\n"
         "  5    the job failed or stalled\n"
         "  6    privacy budget exhausted\n"
         "  7    a check of `doctor` failed\n"
         "  8    state directory damaged, locked, or of a newer schema\n"
         "  9    refused by policy; wrong base model\n"
         "  10   memory or disk would not suffice\n"
         "  130  interrupted by SIGINT; `job watch` leaves the job running\n";
}

}  // namespace rivulet
