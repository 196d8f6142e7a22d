#include "taskvec/core/version.h"

namespace taskvec {

std::string_view version() { return TASKVEC_VERSION; }

}  // namespace taskvec
