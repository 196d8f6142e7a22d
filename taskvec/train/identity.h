#pragma once

#include "taskvec/data/dataset.h"
#include "taskvec/models/clip.h"

#include <nlohmann/json.hpp>

#include <filesystem>

namespace taskvec::train {

/// What a result depends on, listed once: run folders, trial logs, kept passes and records take their identity from here. All
/// values are text, which is equal exactly where what it stands for is.

/// Of a model's folder, the weights aside: {"network": config.json as it is understood, "tokenizer": its files, "preprocessing":
/// every step that makes a picture an input}.
nlohmann::json folder_identity(const models::Clip& network, const std::filesystem::path& folder);

/// Of a task and the samples of it that are used: {"name", "classes", "templates", "metric", "samples"}.
nlohmann::json task_identity(const data::Task& task, const data::Dataset& samples);

}  // namespace taskvec::train
