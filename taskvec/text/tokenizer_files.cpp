#include "taskvec/text/tokenizer_files.h"

#include "taskvec/core/bounded_json.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/files/failed_download.h"
#include "taskvec/core/files/inside.h"
#include "taskvec/core/fingerprint.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>

namespace taskvec::text {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Merges = std::vector<std::pair<std::string, std::string>>;

constexpr uint64_t kMaxFileBytes = uint64_t{256} << 20;
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr const char* kPattern = R"(<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)";

[[noreturn]] void bad(const fs::path& file, const std::string& why) {
  fail(ErrorCode::Format, "{}: not a CLIP tokenizer: {}", file.string(), why);
}

Json read_json(const fs::path& file) {
  const std::string contents = read_file(file, kMaxFileBytes);
  check_download(file, contents);
  Json json = parse_bounded_json(contents);
  if (!json.is_object()) fail(ErrorCode::Format, "{}: not a JSON object, or nested too deep", file.string());
  return json;
}

int64_t checked_id(const Json& value, const fs::path& file, const std::string& token) {
  if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() >= kMaxVocab) {
    bad(file, fmt::format("the id of token '{}' is no number in [0, {})", token, kMaxVocab));
  }
  return value.get<int64_t>();
}

std::unordered_map<std::string, int64_t> parse_vocab(const Json& json, const fs::path& file) {
  if (!json.is_object() || json.empty()) bad(file, "expected a vocabulary that maps tokens to ids");
  std::unordered_map<std::string, int64_t> vocab;
  for (const auto& [token, id] : json.items()) vocab[token] = checked_id(id, file, token);
  return vocab;
}

std::pair<std::string, std::string> parse_merge(const std::string& line, const fs::path& file) {
  const size_t space = line.find(' ');
  if (space == std::string::npos || space == 0 || space + 1 == line.size() || line.find(' ', space + 1) != std::string::npos) {
    bad(file, fmt::format("expected two tokens in the merge '{}'", line));
  }
  return {line.substr(0, space), line.substr(space + 1)};
}

Merges parse_merges(const Json& json, const fs::path& file) {
  if (!json.is_array()) bad(file, "expected a list of merges");
  Merges merges;
  for (const Json& entry : json) {
    if (entry.is_string()) {
      merges.push_back(parse_merge(entry.get<std::string>(), file));
    } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
      merges.emplace_back(entry[0].get<std::string>(), entry[1].get<std::string>());
    } else {
      bad(file, "a merge is a string or a pair of strings");
    }
  }
  return merges;
}

Merges read_merges(const fs::path& file) {
  Merges merges;
  const std::string text = read_file(file, kMaxFileBytes);
  check_download(file, text);
  for (size_t begin = 0, number = 0; begin < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty() || (number == 0 && line.starts_with("#version"))) continue;
    merges.push_back(parse_merge(line, file));
  }
  return merges;
}

AddedToken parse_added(const Json& json, int64_t id, const fs::path& file) {
  if (!json.is_object() || !json.value("content", Json()).is_string()) bad(file, "an added token without content");
  const auto flag = [&](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_boolean() && found->get<bool>();
  };
  AddedToken token{json["content"].get<std::string>(), id, flag("normalized"), flag("lstrip"), flag("rstrip")};
  if (token.content.empty()) bad(file, "an added token without content");
  if (flag("single_word")) fail(ErrorCode::Unsupported, "{}: the added token '{}' is single_word", file.string(), token.content);
  return token;
}

/// "bos_token": "text" or {"content": "text", ...}
void read_name(const Json& json, const char* key, std::string& name) {
  const auto found = json.find(key);
  if (found == json.end()) return;
  if (found->is_string()) name = found->get<std::string>();
  if (found->is_object() && found->contains("content") && (*found)["content"].is_string()) name = (*found)["content"];
}

void read_tokenizer_json(TokenizerFiles& files, const fs::path& file) {
  const Json json = read_json(file);
  const auto model = json.find("model");
  if (model == json.end() || !model->is_object()) bad(file, "there is no model");
  if (const auto type = model->find("type"); type != model->end() && *type != "BPE") {
    bad(file, fmt::format("expected a BPE model, got {}", type->dump()));
  }
  files.vocab = parse_vocab(model->value("vocab", Json()), file);
  files.merges = parse_merges(model->value("merges", Json()), file);
  const Json added = json.value("added_tokens", Json::array());
  if (!added.is_array()) bad(file, "expected a list of added tokens");
  for (const Json& entry : added) {
    if (!entry.is_object()) bad(file, "an added token is an object");
    files.added.push_back(parse_added(entry, checked_id(entry.value("id", Json()), file, "(added)"), file));
  }
}

/// Names of the special tokens, and the added tokens: what stands here wins over tokenizer.json, as in transformers.
void read_config(TokenizerFiles& files, const fs::path& file) {
  const Json json = read_json(file);
  read_name(json, "bos_token", files.bos);
  read_name(json, "eos_token", files.eos);
  read_name(json, "pad_token", files.pad);
  read_name(json, "unk_token", files.unknown);
  const auto added = json.find("added_tokens_decoder");
  if (added == json.end() || !added->is_object() || added->empty()) return;
  files.added.clear();
  for (const auto& [key, entry] : added->items()) {
    const bool digits =
        !key.empty() && key.size() < 9 && std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!digits) bad(file, fmt::format("'{}' is no token id", key));
    files.added.push_back(parse_added(entry, std::stoll(key), file));
  }
}

}  // namespace

std::string tokenizer_fingerprint(const fs::path& folder) {
  std::vector<const char*> names{"tokenizer.json"};
  if (!is_there(folder / names[0])) names = {"vocab.json", "merges.txt"};
  Fingerprint print;
  for (const char* name : names) {
    if (!is_there(folder / name)) return "";
    print.update(name).update(read_file(inside(folder, name)));
  }
  if (is_there(folder / "tokenizer_config.json")) print.update(read_file(inside(folder, "tokenizer_config.json")));
  return print.hex();
}

TokenizerFiles read_tokenizer_files(const fs::path& folder) {
  TokenizerFiles files;
  if (is_there(folder / "tokenizer.json")) {
    files.origin = (folder / "tokenizer.json").string();
    read_tokenizer_json(files, inside(folder, "tokenizer.json"));
  } else if (is_there(folder / "vocab.json") && is_there(folder / "merges.txt")) {
    files.origin = (folder / "merges.txt").string();
    files.vocab = parse_vocab(read_json(inside(folder, "vocab.json")), folder / "vocab.json");
    files.merges = read_merges(inside(folder, "merges.txt"));
  } else {
    fail(ErrorCode::NotFound,
         "no tokenizer in {}: expected tokenizer.json, or vocab.json and merges.txt; copy them from the model's origin",
         folder.string());
  }
  if (is_there(folder / "tokenizer_config.json")) read_config(files, inside(folder, "tokenizer_config.json"));
  return files;
}

void write_tokenizer_files(const fs::path& folder, const std::vector<std::string>& tokens_by_id, const Merges& merges,
                           int64_t model_max_length) {
  const std::string bos = "<|startoftext|>", eos = "<|endoftext|>";
  using Json = nlohmann::ordered_json;
  Json vocab = Json::object(), merge_list = Json::array(), added = Json::array();
  std::map<std::string, size_t> special;
  for (size_t id = 0; id < tokens_by_id.size(); ++id) {
    vocab[tokens_by_id[id]] = id;
    if (tokens_by_id[id] == bos || tokens_by_id[id] == eos) special[tokens_by_id[id]] = id;
  }
  std::string merges_txt = "#version: 0.2\n";
  for (const auto& [left, right] : merges) {
    merge_list.push_back({left, right});
    merges_txt += left + " " + right + "\n";
  }
  for (const std::string& token : {bos, eos}) {
    added.push_back({{"id", special.at(token)},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const Json normalizers = {
      {{"type", "NFC"}}, {{"type", "Replace"}, {"pattern", {{"Regex", "\\s+"}}}, {"content", " "}}, {{"type", "Lowercase"}}};
  const Json split = {{"type", "Split"}, {"pattern", {{"Regex", kPattern}}}, {"behavior", "Removed"}, {"invert", true}};
  const Json tokenizer = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added},
      {"normalizer", {{"type", "Sequence"}, {"normalizers", normalizers}}},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level})}}},
      {"post_processor",
       {{"type", "RobertaProcessing"},
        {"sep", Json::array({eos, special.at(eos)})},
        {"cls", Json::array({bos, special.at(bos)})},
        {"trim_offsets", false},
        {"add_prefix_space", false}}},
      {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", eos},
        {"continuing_subword_prefix", ""},
        {"end_of_word_suffix", "</w>"},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", false},
        {"vocab", vocab},
        {"merges", merge_list}}}};
  const Json names = {{"bos_token", bos}, {"eos_token", eos}, {"pad_token", eos}, {"unk_token", eos}};
  Json config = names;
  config["model_max_length"] = model_max_length;
  config["tokenizer_class"] = "CLIPTokenizer";
  write_file_atomically(folder / "vocab.json", vocab.dump() + "\n");
  write_file_atomically(folder / "merges.txt", merges_txt);
  write_file_atomically(folder / "tokenizer.json", tokenizer.dump(1) + "\n");
  write_file_atomically(folder / "tokenizer_config.json", config.dump(1) + "\n");
  write_file_atomically(folder / "special_tokens_map.json", names.dump(1) + "\n");
}

}  // namespace taskvec::text
