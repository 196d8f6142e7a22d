#include "taskvec/report/signature.h"

#include <fstream>

namespace taskvec::report {

using namespace std::string_view_literals;

// Length, type, keyword, text and CRC: the same in every picture.
std::string png_signature() {
  return std::string(
      "\0\0\0\x10tEXtSoftware\0taskvec"
      "\xa0\x99\xc0\x26"sv);
}

bool is_signed(const std::filesystem::path& picture) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(std::filesystem::symlink_status(picture, error))) return false;
  constexpr std::streamsize kBegin = 256;
  std::string begin(kBegin, '\0');
  std::ifstream file(picture, std::ios::binary);
  file.read(begin.data(), kBegin);
  begin.resize(static_cast<size_t>(file.gcount()));
  return begin.find(png_signature()) != std::string::npos || begin.find(kSvgSignature) != std::string::npos;
}

}  // namespace taskvec::report
