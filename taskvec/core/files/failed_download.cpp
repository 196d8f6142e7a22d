#include "taskvec/core/files/failed_download.h"

#include "taskvec/core/error.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace taskvec {
namespace {

constexpr size_t kMaxTextBytes = 4096;

bool starts_with(std::string_view text, std::string_view lower_case) {
  return text.size() >= lower_case.size() && std::equal(lower_case.begin(), lower_case.end(), text.begin(), [](char a, char b) {
           return a == static_cast<char>(std::tolower(static_cast<unsigned char>(b)));
         });
}

/// "12345" as "12,345".
std::string grouped(uint64_t number) {
  if (number < 1000) return fmt::format("{}", number);
  return fmt::format("{},{:03}", grouped(number / 1000), number % 1000);
}

}  // namespace

void check_download(const std::filesystem::path& file, std::span<const std::byte> bytes) {
  check_download(file, std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

void check_download(const std::filesystem::path& file, std::string_view all) {
  // The words of a message: most such files stand in for weights.
  const std::string_view what = file.extension() == ".json" || file.extension() == ".txt" ? "the file" : "the weights";
  std::string_view text = all.substr(0, kMaxTextBytes);
  if (starts_with(text, "version https://git-lfs.github.com/spec/")) {
    uint64_t size = 0;
    const size_t at = text.find("\nsize ");
    const bool known =
        at != std::string_view::npos && std::from_chars(text.data() + at + 6, text.data() + text.size(), size).ec == std::errc{};
    fail(ErrorCode::Format, "{} is a Git LFS pointer, not {}: run `git lfs pull`{}", file.string(), what,
         known ? fmt::format(" ({} bytes are missing)", grouped(size)) : "");
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  for (const std::string_view page : {"<!doctype", "<html", "<head", "<?xml", "<error", "<!--"})
    if (starts_with(text, page))
      fail(ErrorCode::Format, "{} is {} page, not {}; the download failed: fetch the file again", file.string(),
           page == "<?xml" || page == "<error" ? "an XML" : "an HTML", what);
  // A header's length is no text; an index of shards is JSON, too, but no error.
  const bool readable = std::ranges::none_of(text, [](unsigned char c) { return (c < ' ' && !std::isspace(c)) || c == 127; });
  if (all.size() > kMaxTextBytes || text.empty() || !readable) return;
  if (text.front() == '{' && text.find("\"error\"") != std::string_view::npos &&
      text.find("weight_map") == std::string_view::npos)
    fail(ErrorCode::Format, "{} is a server's error message (JSON), not {}; the download failed: fetch the file again",
         file.string(), what);
  for (const std::string_view message :
       {"entry not found", "repository not found", "not found", "invalid username or password", "invalid credentials",
        "access to model", "access denied", "unauthorized", "forbidden", "404", "401", "403"})
    if (starts_with(text, message))
      fail(ErrorCode::Format, "{} is a server's error message, not {}; the download failed: fetch the file again", file.string(),
           what);
}

}  // namespace taskvec
