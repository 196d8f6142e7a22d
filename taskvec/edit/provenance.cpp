#include "taskvec/edit/provenance.h"

#include "taskvec/core/bounded_json.h"
#include "taskvec/core/error.h"
#include "taskvec/core/version.h"
#include "taskvec/formats/names.h"

namespace taskvec::edit {
namespace {

using nlohmann::json;

/// Reads what provenance() wrote; files come from anywhere, so nothing about them is believed.
class Reader {
 public:
  explicit Reader(const formats::Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  const std::string& value(const char* key) const {
    const auto& metadata = checkpoint_.manifest().metadata;
    const auto found = metadata.find(key);
    if (found == metadata.end()) refuse(fmt::format("its metadata has no '{}'", key));
    return found->second;
  }

  json parsed(const char* key, json::value_t type) const {
    auto result = parse_bounded_json(value(key));
    if (result.type() != type) refuse(fmt::format("'{}' in its metadata is not the JSON that taskvec writes", key));
    return result;
  }

  std::string text(const json& object, const char* field) const {
    if (!object.is_object() || !object.contains(field) || !object[field].is_string())
      refuse(fmt::format("an entry of '{}' in its metadata has no '{}'", kSourcesKey, field));
    return object[field].get<std::string>();
  }

  [[noreturn]] void refuse(const std::string& why) const {
    fail(ErrorCode::Format, "{} does not say how it was made: {}", checkpoint_.path().string(), why);
  }

 private:
  const formats::Checkpoint& checkpoint_;
};

nlohmann::ordered_json options_of(const Plan& plan) {
  nlohmann::ordered_json options{{"allow_missing", plan.options.allow_missing},
                                 {"allow_differing_integers", plan.options.allow_differing_integers}};
  if (plan.options.dtype) options["dtype"] = name(*plan.options.dtype);
  if (plan.options.mode != Mode::Auto) options["mode"] = plan.options.mode == Mode::Linear ? "linear" : "standard";
  if (plan.options.vocabulary != Vocabulary::Same) options["vocab"] = name(plan.options.vocabulary);
  if (plan.options.on_overflow == OnOverflow::Saturate) options["on_overflow"] = "saturate";  // the others write the same bytes
  return options;
}

}  // namespace

std::map<std::string, std::string> provenance(const Plan& plan, const std::vector<std::string>& fingerprints) {
  nlohmann::ordered_json sources = nlohmann::ordered_json::array();
  for (size_t s = 0; s < plan.sources.size(); ++s) {
    sources.push_back(
        {{"name", plan.source_names[s]}, {"path", plan.sources[s]->path().string()}, {"fingerprint", fingerprints.at(s)}});
    if (const auto map = formats::map_of(*plan.sources[s]); !map.empty()) sources.back()["map"] = map;
  }
  std::map<std::string, std::string> metadata = plan.sources[plan.base]->manifest().metadata;
  std::erase_if(metadata, [](const auto& entry) { return entry.first.starts_with("taskvec."); });
  metadata.emplace("format", "pt");
  // Paths may hold any bytes; what is no UTF-8 is replaced rather than refused.
  const auto dump = [](const auto& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); };
  if (!plan.tangent_origin.empty()) {
    metadata[kModeKey] = kLinear;
    metadata[kOriginKey] = plan.tangent_origin;
  }
  metadata["taskvec.expression"] = plan.expression;
  metadata["taskvec.coefficients"] = dump(json(plan.options.coefficients));
  metadata[kSourcesKey] = dump(sources);
  metadata["taskvec.base"] = plan.source_names[plan.base];
  metadata["taskvec.options"] = dump(options_of(plan));
  metadata["taskvec.version"] = std::string(version());
  return metadata;
}

json identity(const Plan& plan) {
  json sources = json::object();
  for (size_t s = 0; s < plan.sources.size(); ++s) {
    sources[plan.source_names[s]] = {{"fingerprint", plan.sources[s]->fingerprint()}};
    if (const auto map = formats::map_of(*plan.sources[s]); !map.empty()) sources[plan.source_names[s]]["map"] = map;
  }
  return {{"expression", plan.expression},
          {"coefficients", plan.options.coefficients},
          {"sources", std::move(sources)},
          {"base", plan.source_names[plan.base]},
          {"options", json(options_of(plan))}};
}

Recorded read_provenance(const formats::Checkpoint& checkpoint) {
  const Reader reader(checkpoint);
  Recorded recorded;
  recorded.expression = reader.value("taskvec.expression");
  for (const auto& source : reader.parsed(kSourcesKey, json::value_t::array))
    recorded.sources.push_back({reader.text(source, "name"), reader.text(source, "path"), reader.text(source, "fingerprint"),
                                source.contains("map") ? reader.text(source, "map") : ""});
  const json coefficients = reader.parsed("taskvec.coefficients", json::value_t::object);
  for (const auto& [name, value] : coefficients.items()) {
    if (!value.is_number()) reader.refuse(fmt::format("coefficient '{}' is not a number", name));
    recorded.options.coefficients[name] = value.get<double>();
  }
  recorded.options.base = reader.value("taskvec.base");
  const json options = reader.parsed("taskvec.options", json::value_t::object);
  const auto flag = [&](const char* name) { return options.contains(name) && options[name] == true; };
  recorded.options.allow_missing = flag("allow_missing");
  recorded.options.allow_differing_integers = flag("allow_differing_integers");
  if (options.contains("on_overflow") && options["on_overflow"] == "saturate")
    recorded.options.on_overflow = OnOverflow::Saturate;
  if (options.contains("mode")) recorded.options.mode = options["mode"] == "linear" ? Mode::Linear : Mode::Standard;
  if (options.contains("vocab")) {
    if (!options["vocab"].is_string()) reader.refuse("its vocab is no text");
    recorded.options.vocabulary = parse_vocabulary(options["vocab"].get<std::string>());
  }
  if (options.contains("dtype")) {
    if (options["dtype"].is_string()) recorded.options.dtype = parse_dtype(options["dtype"].get<std::string>());
    if (!recorded.options.dtype) reader.refuse(fmt::format("its dtype is {}", options["dtype"].dump()));
  }
  return recorded;
}

}  // namespace taskvec::edit
