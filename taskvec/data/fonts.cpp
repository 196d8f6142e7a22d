#include "taskvec/data/fonts.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/files/mapped_file.h"
#include "taskvec/core/files/paths.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/core/parallel.h"
#include "taskvec/data/freetype.h"

#include <unicode/uchar.h>
#include <unicode/uscript.h>

#include <algorithm>
#include <map>
#include <sstream>

namespace taskvec::data {
namespace {

namespace fs = std::filesystem;
constexpr int kFewestLetters = 10;

std::vector<std::string> cut(const std::string& line, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(line);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

std::set<std::string> scripts_of(FT_Face face) {
  std::map<std::string, int> letters;
  FT_UInt glyph = 0;
  for (FT_ULong c = FT_Get_First_Char(face, &glyph); glyph != 0; c = FT_Get_Next_Char(face, c, &glyph)) {
    UErrorCode status = U_ZERO_ERROR;
    if (u_isalpha(static_cast<UChar32>(c))) ++letters[uscript_getShortName(uscript_getScript(static_cast<UChar32>(c), &status))];
  }
  std::set<std::string> scripts;
  for (const auto& [script, count] : letters) {
    if (count >= kFewestLetters && script != "Zyyy" && script != "Zinh") scripts.insert(script);
  }
  return scripts;
}

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '\t' || c == '\n') c = ' ';
  }
  return text;
}

std::string lines_of(const fs::path& folder, const fs::path& file) {
  std::string lines;
  const auto mapped = MappedFile::open(file);
  const std::string hash = fingerprint(mapped->bytes());
  for (int index = 0, faces = 1; index < faces; ++index) {
    const Face face(file, index);
    if (!face) break;
    faces = static_cast<int>(face.get()->num_faces);
    const auto scripts = scripts_of(face.get());
    if (scripts.empty() || !face.get()->family_name) continue;
    lines += fmt::format("{}\t{}\t{}\t{}\t{}\n", hash, file.lexically_relative(folder).string(), index,
                         lower(face.get()->family_name), fmt::join(scripts, ","));
  }
  return lines;
}

std::vector<FontFace> read_list(const fs::path& file) {
  std::vector<FontFace> faces;
  std::istringstream stream(read_file(file));
  int number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    if (line.empty() || line.starts_with('#')) continue;
    const auto parts = cut(line, '\t');
    if (parts.size() != 5 || parts[0].size() != 32 || parts[2].find_first_not_of("0123456789") != std::string::npos ||
        parts[2].size() > 4) {
      fail(ErrorCode::Format, "{}:{}: expected fingerprint, path, face, family and scripts, separated by tabs", file.string(),
           number);
    }
    const auto scripts = cut(parts[4], ',');
    faces.push_back({parts[0], parts[1], std::stoi(parts[2]), parts[3], {scripts.begin(), scripts.end()}});
  }
  return faces;
}

}  // namespace

fs::path fonts_dir() {
  const char* given = std::getenv("TASKVEC_FONTS");
  return given && *given ? fs::path(given) : fs::path("/usr/share/fonts");
}

const std::vector<FontFace>& font_list() {
  static const std::vector<FontFace> list = read_list(assets_dir() / "fonts" / "fonts.txt");
  return list;
}

std::string scan_fonts(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string extension = lower(entry.path().extension().string());
    const bool font = extension == ".ttf" || extension == ".otf" || extension == ".ttc" || extension == ".pfb";
    if (font && entry.is_regular_file() && !entry.is_symlink()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<std::string> lines(files.size());
  parallel_for(static_cast<int64_t>(files.size()),
               [&](int64_t i) { lines[static_cast<size_t>(i)] = lines_of(folder, files[static_cast<size_t>(i)]); });
  std::string all = "# fingerprint, path, face, family, scripts with ten letters or more; made by taskvec tasks --scan-fonts\n";
  for (const std::string& line : lines) all += line;
  return all;
}

}  // namespace taskvec::data
