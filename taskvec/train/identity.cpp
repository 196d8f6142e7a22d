#include "taskvec/train/identity.h"

#include "taskvec/core/fingerprint.h"
#include "taskvec/text/tokenizer_files.h"

namespace taskvec::train {

using nlohmann::json;

json folder_identity(const models::Clip& network, const std::filesystem::path& folder) {
  return {{"network", fingerprint(network.config().to_json().dump())},
          {"tokenizer", text::tokenizer_fingerprint(folder)},
          {"preprocessing", data::Preprocess::open(folder, network.config().image_size).key()}};
}

json task_identity(const data::Task& task, const data::Dataset& samples) {
  return {{"name", task.name},
          {"classes", task.classes},
          {"templates", task.templates},
          {"metric", task.metric},
          {"samples", samples.fingerprint()}};
}

}  // namespace taskvec::train
