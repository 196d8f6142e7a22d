#pragma once

#include "taskvec/formats/checkpoint.h"

#include <map>
#include <memory>
#include <string>

namespace taskvec::edit {

/// name -> opened checkpoint
using Bindings = std::map<std::string, std::shared_ptr<const formats::Checkpoint>, std::less<>>;

}  // namespace taskvec::edit
