#include "taskvec/core/error.h"
#include "taskvec/core/files/mapped_file.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/core/parallel.h"
#include "taskvec/data/fonts.h"
#include "taskvec/data/freetype.h"
#include "taskvec/data/source.h"

#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/uscript.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstring>
#include <optional>
#include <set>
#include <unordered_set>

namespace taskvec::data {
namespace {

constexpr int64_t kSide = 28;
// Capitals are 18 pixels high and stand on row 23: size and place tell c from C and a hyphen from an underscore.
constexpr double kCapHeight = 18.0, kBaseline = 23.0;
constexpr int64_t kLargest = 26;
constexpr int kEm = 64;  // pixels; glyphs are scaled down from here, which antialiases better than FreeType's own small sizes
constexpr double kUsualCap = 45;  // of an em of 64, where a face has neither H nor 0

constexpr size_t kMaxCharacters =
    20'000;  // classes, each with a row of logits; and what keeps a few lines from asking for millions

std::u32string characters(const Task& task, const YAML::Node& settings) {
  if (!settings["ranges"]) bad_task(task, settings, "glyphs need 'ranges', e.g. [\"0041-005A\", \"00E9\"]");
  std::unordered_set<char32_t> left_out, seen;
  if (settings["except"]) {
    for (const std::string& text : required_list(task, settings, "except")) {
      const icu::UnicodeString wide = icu::UnicodeString::fromUTF8(text);
      for (int32_t i = 0; i < wide.length(); i = wide.moveIndex32(i, 1)) left_out.insert(static_cast<char32_t>(wide.char32At(i)));
    }
  }
  std::u32string result;
  for (const std::string& range : required_list(task, settings, "ranges")) {
    unsigned first = 0, last = 0;
    int used = 0;
    const bool pair = std::sscanf(range.c_str(), "%6x-%6x%n", &first, &last, &used) == 2;
    const bool one = !pair && std::sscanf(range.c_str(), "%6x%n", &first, &used) == 1;
    if (one) last = first;
    if ((!pair && !one) || static_cast<size_t>(used) != range.size() || last < first || last > 0x10FFFF || last - first > 10000) {
      bad_task(task, settings["ranges"], fmt::format("'{}' is no range of code points such as 0041-005A", range));
    }
    for (unsigned c = first; c <= last; ++c) {
      if (!u_isgraph(static_cast<UChar32>(c)) || left_out.contains(c)) continue;  // unassigned and invisible characters
      if (!seen.insert(c).second)
        bad_task(task, settings["ranges"], fmt::format("the code point {:04X} is in two ranges, the second is '{}'", c, range));
      if (result.size() >= kMaxCharacters)
        bad_task(task, settings["ranges"], fmt::format("more than {} characters", kMaxCharacters));
      result += static_cast<char32_t>(c);
    }
  }
  return result;
}

std::string unicode_name(char32_t c) {
  std::array<char, 128> buffer{};
  UErrorCode status = U_ZERO_ERROR;
  u_charName(static_cast<UChar32>(c), U_UNICODE_CHAR_NAME, buffer.data(), static_cast<int32_t>(buffer.size()), &status);
  std::string text(buffer.data());
  for (char& letter : text) letter = static_cast<char>(std::tolower(letter));
  return text;
}

/// Faces whose scripts hold letters of the task: a face of another script has digits too, but in the style of Latin.
std::vector<const FontFace*> faces_of(const std::u32string& wanted) {
  std::set<std::string> scripts;
  for (const char32_t c : wanted) {
    UErrorCode status = U_ZERO_ERROR;
    const UScriptCode code = uscript_getScript(static_cast<UChar32>(c), &status);
    if (code != USCRIPT_COMMON && code != USCRIPT_INHERITED) scripts.insert(uscript_getShortName(code));
  }
  std::vector<const FontFace*> faces;
  for (const FontFace& face : font_list()) {
    if (std::any_of(scripts.begin(), scripts.end(), [&](const auto& s) { return face.scripts.contains(s); }))
      faces.push_back(&face);
  }
  return faces;
}

/// 70 % of the families are for training, 10 % for validation, 20 % for the test.
Split split_of(const std::string& family) {
  const auto bucket = std::stoul(fingerprint(family).substr(0, 8), nullptr, 16) % 100;
  return bucket < 70 ? Split::Train : bucket < 80 ? Split::Val : Split::Test;
}

/// The glyph at kEm as gray pixels with the row of its top relative to the baseline (up is positive); nothing when it is empty.
struct Bitmap {
  Image image;
  int top = 0;
};
std::optional<Bitmap> draw(FT_Face face, char32_t c) {
  const FT_UInt glyph = FT_Get_Char_Index(face, c);
  if (glyph == 0 || FT_Load_Glyph(face, glyph, FT_LOAD_NO_HINTING | FT_LOAD_NO_BITMAP | FT_LOAD_RENDER) != 0) return std::nullopt;
  const FT_Bitmap& bitmap = face->glyph->bitmap;
  if (bitmap.pixel_mode != FT_PIXEL_MODE_GRAY || bitmap.width == 0 || bitmap.rows == 0) return std::nullopt;
  if (bitmap.width > 400 || bitmap.rows > 400) return std::nullopt;
  Bitmap result{{bitmap.rows, bitmap.width, 1, {}}, face->glyph->bitmap_top};
  for (unsigned row = 0; row < bitmap.rows; ++row) {
    const unsigned char* line = bitmap.buffer + static_cast<ptrdiff_t>(row) * bitmap.pitch;
    result.image.pixels.insert(result.image.pixels.end(), line, line + bitmap.width);
  }
  return result;
}

double cap_height(FT_Face face) {
  for (const char32_t c : U"H0") {
    if (c == 0 || FT_Get_Char_Index(face, c) == 0) continue;
    const auto bitmap = draw(face, c);
    return bitmap && bitmap->image.height >= 20 ? static_cast<double>(bitmap->image.height) : kUsualCap;
  }
  return kUsualCap;
}

using Pixels = std::array<uint8_t, kSide * kSide>;

Pixels place(const Bitmap& glyph, double cap) {
  const double scale = kCapHeight / cap;
  const auto scaled = [](int64_t n, double by) { return std::max<int64_t>(1, std::lround(static_cast<double>(n) * by)); };
  int64_t height = scaled(glyph.image.height, scale), width = scaled(glyph.image.width, scale);
  const double shrink = std::min(1.0, static_cast<double>(kLargest) / static_cast<double>(std::max(height, width)));
  height = scaled(height, shrink);
  width = scaled(width, shrink);
  const Image small = resize_bicubic(glyph.image, height, width);
  const int64_t top = std::clamp<int64_t>(std::lround(kBaseline - glyph.top * scale * shrink), 1, kSide - 1 - height);
  const int64_t left = (kSide - width) / 2;
  Pixels canvas{};
  for (int64_t y = 0; y < height; ++y) {
    std::memcpy(&canvas[static_cast<size_t>((top + y) * kSide + left)], &small.pixels[static_cast<size_t>(y * width)],
                static_cast<size_t>(width));
  }
  return canvas;
}

struct Glyph {
  Pixels pixels;
  int32_t label;
};

std::vector<Glyph> render(const FontFace& entry, const std::u32string& wanted) {
  std::vector<Glyph> glyphs;
  const Face face(fonts_dir() / entry.path, entry.index);
  if (!face || FT_Set_Pixel_Sizes(face.get(), 0, kEm) != 0) return glyphs;
  const double cap = cap_height(face.get());
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (const auto bitmap = draw(face.get(), wanted[i])) glyphs.push_back({place(*bitmap, cap), static_cast<int32_t>(i)});
  }
  return glyphs;
}

class GlyphDataset final : public Dataset {
 public:
  GlyphDataset(std::vector<Glyph> glyphs, std::string key) : glyphs_(std::move(glyphs)), key_(std::move(key)) {}
  int64_t size() const override { return static_cast<int64_t>(glyphs_.size()); }
  int64_t label(int64_t index) const override { return glyphs_[static_cast<size_t>(index)].label; }
  Image image(int64_t index) const override {
    const Pixels& pixels = glyphs_[static_cast<size_t>(index)].pixels;
    return {kSide, kSide, 1, {pixels.begin(), pixels.end()}};
  }
  std::string fingerprint() const override { return key_; }

 private:
  std::vector<Glyph> glyphs_;
  std::string key_;
};

void check(Task& task, const YAML::Node& settings) {
  check_keys(task, settings, {"ranges", "except"});
  if (!task.classes.empty()) bad_task(task, settings, "classes of glyphs have their Unicode names; leave out 'classes'");
  for (const char32_t c : characters(task, settings)) task.classes.push_back(unicode_name(c));
}

std::string missing(const Task& task, const YAML::Node& settings) {
  int64_t absent = 0;
  std::string first;
  for (const FontFace* face : faces_of(characters(task, settings))) {
    if (std::filesystem::exists(fonts_dir() / face->path)) continue;
    if (absent++ == 0) first = face->path;
  }
  if (absent == 0) return "";
  return fmt::format("{} font files are missing below {}, the first is {}; run tools/setup, or set TASKVEC_FONTS", absent,
                     fonts_dir().string(), first);
}

std::shared_ptr<const Dataset> open(const Task& task, const YAML::Node& settings, Split split) {
  const std::u32string wanted = characters(task, settings);
  std::vector<const FontFace*> faces = faces_of(wanted);
  std::erase_if(faces, [&](const FontFace* face) { return split_of(face->family) != split; });
  std::vector<std::vector<Glyph>> rendered(faces.size());
  parallel_for(static_cast<int64_t>(faces.size()),
               [&](int64_t i) { rendered[static_cast<size_t>(i)] = render(*faces[static_cast<size_t>(i)], wanted); });

  // Weights and copies of a face often share a glyph: it counts once.
  std::set<std::pair<int32_t, std::string>> seen;
  std::vector<Glyph> glyphs;
  Fingerprint key;
  for (const auto& part : rendered) {
    for (const Glyph& glyph : part) {
      const std::string hash = fingerprint(std::as_bytes(std::span(glyph.pixels)));
      if (!seen.emplace(glyph.label, hash).second) continue;
      key.update(hash).update(std::to_string(glyph.label));
      glyphs.push_back(glyph);
    }
  }
  return std::make_shared<GlyphDataset>(std::move(glyphs), key.hex());
}

}  // namespace

const SourceKind kGlyphs{"glyphs", check, missing, open, false};

}  // namespace taskvec::data
