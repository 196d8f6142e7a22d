#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace taskvec::data {

/// One face of assets/fonts/fonts.txt: what glyph tasks are rendered from.
struct FontFace {
  std::string fingerprint;        ///< of the file's bytes
  std::string path;               ///< below fonts_dir()
  int index = 0;                  ///< of the face in the file
  std::string family;             ///< lower case; decides the split
  std::set<std::string> scripts;  ///< ISO 15924 codes ("Latn") of which the face has ten letters or more
};

/// $TASKVEC_FONTS, else /usr/share/fonts.
std::filesystem::path fonts_dir();

/// Reads assets/fonts/fonts.txt. @throws Error{Format} naming file and line
const std::vector<FontFace>& font_list();

/// Every scalable face below `folder`, sorted, as lines of a fonts.txt: how that file is made.
std::string scan_fonts(const std::filesystem::path& folder);

}  // namespace taskvec::data
