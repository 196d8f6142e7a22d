#pragma once

#include <ft2build.h>
#include FT_FREETYPE_H

#include <filesystem>
#include <memory>

namespace taskvec::data {

/// A font face that closes itself. FreeType is not thread-safe: a library for each face, a face for each thread.
class Face {
 public:
  /// nullptr inside when the file is no scalable font
  Face(const std::filesystem::path& file, int index) {
    FT_Library library = nullptr;
    if (FT_Init_FreeType(&library) != 0) return;
    library_.reset(library);
    FT_Face face = nullptr;
    if (FT_New_Face(library, file.c_str(), index, &face) != 0) return;
    face_.reset(face);
    if (!FT_IS_SCALABLE(face) || FT_Select_Charmap(face, FT_ENCODING_UNICODE) != 0) face_.reset();
  }
  explicit operator bool() const { return face_ != nullptr; }
  FT_Face get() const { return face_.get(); }

 private:
  struct CloseLibrary {
    void operator()(FT_Library library) const { FT_Done_FreeType(library); }
  };
  struct CloseFace {
    void operator()(FT_Face face) const { FT_Done_Face(face); }
  };
  std::unique_ptr<std::remove_pointer_t<FT_Library>, CloseLibrary> library_;
  std::unique_ptr<std::remove_pointer_t<FT_Face>, CloseFace> face_;
};

}  // namespace taskvec::data
