#include "taskvec/formats/numpy/npy_header.h"

#include "taskvec/core/error.h"

#include <fmt/ranges.h>

#include <array>
#include <charconv>
#include <cstring>
#include <optional>

namespace taskvec::formats {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kMaxDimensions = 64;
constexpr uint64_t kAlignment = 64;  // as numpy aligns a lone array

struct Row {
  std::string_view descr;
  Dtype dtype;
};
constexpr std::array kRows{
    Row{"<f8", Dtype::F64}, Row{"<f4", Dtype::F32}, Row{"<f2", Dtype::F16},  Row{"<c8", Dtype::C64}, Row{"<i8", Dtype::I64},
    Row{"<i4", Dtype::I32}, Row{"<i2", Dtype::I16}, Row{"|i1", Dtype::I8},   Row{"<u8", Dtype::U64}, Row{"<u4", Dtype::U32},
    Row{"<u2", Dtype::U16}, Row{"|u1", Dtype::U8},  Row{"|b1", Dtype::BOOL},
};

/// Why an array of this type is not read.
std::string_view reason(std::string_view descr) {
  if (descr.size() < 2) return "no type of numpy's";
  if (descr[1] == 'O') return "Python objects in a pickle, which taskvec never executes; save numbers instead";
  if (descr[1] == 'V') return "raw bytes without a type (bfloat16 of ml_dtypes?); save it as float32";
  if (descr[0] == '>') return "big-endian; save it with .astype(a.dtype.newbyteorder('<'))";
  if (descr[1] == 'U' || descr[1] == 'S') return "text, not numbers";
  return "a type that taskvec does not read";
}

/// {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }: the keys in any order, each once, nothing else.
class LiteralParser {
 public:
  LiteralParser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  NpyHeader parse() {
    NpyHeader header;
    std::optional<std::string> descr;
    bool order = false, shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr" && !descr) {
        descr = read_descr();
      } else if (key == "fortran_order" && !order) {
        order = true;
        header.fortran_order = boolean();
      } else if (key == "shape" && !shape) {
        shape = true;
        header.info.shape = tuple();
      } else {
        refuse(fmt::format("key '{}' is unknown or there twice", key));
      }
      if (!accept(',') && peek() != '}') refuse("',' or '}' expected");
    }
    if (peek() != '\0') refuse("text behind the '}'");
    if (!descr || !order || !shape) refuse("descr, fortran_order and shape are needed");
    header.info.dtype = dtype_of(*descr);
    return header;
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    fail(ErrorCode::Format, "{}: the array's header is not valid at character {}: {}", where_, at_, why);
  }

  /// The next character that is no white space; NUL at the end.
  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char wanted) {
    if (peek() != wanted) return false;
    ++at_;
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) refuse(fmt::format("'{}' expected", wanted));
  }

  std::string string() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') refuse("a quoted string expected");
    const size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) refuse("a string without an end");
    const std::string_view result = text_.substr(at_ + 1, end - at_ - 1);
    if (result.find('\\') != std::string_view::npos) refuse("a string with escapes");
    at_ = end + 1;
    return std::string(result);
  }

  std::string read_descr() {
    if (peek() == '[' || peek() == '(')
      fail(ErrorCode::Unsupported, "{}: a structured array (records with fields), which taskvec does not read", where_);
    return string();
  }

  Dtype dtype_of(const std::string& descr) const {
    for (const Row& row : kRows)
      if (row.descr == descr) return row.dtype;
    fail(ErrorCode::Unsupported, "{}: an array of '{}': {}", where_, descr, reason(descr));
  }

  bool boolean() {
    peek();
    for (const std::string_view word : {"False", "True"}) {
      if (!text_.substr(at_).starts_with(word)) continue;
      at_ += word.size();
      return word == "True";
    }
    refuse("True or False expected");
  }

  Shape tuple() {
    Shape shape;
    expect('(');
    while (!accept(')')) {
      if (shape.size() == kMaxDimensions) refuse(fmt::format("more than {} dimensions", kMaxDimensions));
      peek();
      int64_t value = 0;
      const char* const begin = text_.data() + at_;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
      if (error != std::errc{} || value < 0) refuse("a dimension from 0 to 2^63 - 1 expected");
      at_ += static_cast<size_t>(end - begin);
      shape.push_back(value);
      if (!accept(',') && (shape.size() == 1 || peek() != ')')) refuse("',' expected: shape is a tuple");
    }
    return shape;
  }

  std::string_view text_;
  const std::string& where_;
  size_t at_ = 0;
};

}  // namespace

bool is_npy(std::span<const std::byte> bytes) {
  return bytes.size() >= kMagic.size() && std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

NpyHeader read_npy_header(std::span<const std::byte> bytes, const std::string& where) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const size_t version_at = kMagic.size(), length_at = version_at + 2;
  if (!is_npy(bytes) || bytes.size() < length_at + 2) fail(ErrorCode::Format, "{}: no numpy array", where);
  const int major = text[version_at], minor = text[version_at + 1];
  if (major < 1 || major > 3 || minor != 0)
    fail(ErrorCode::Unsupported, "{}: version {}.{} of numpy's format; taskvec reads 1.0, 2.0 and 3.0", where, major, minor);
  const size_t width = major == 1 ? 2 : 4;
  uint32_t length = 0;
  if (bytes.size() >= length_at + width) std::memcpy(&length, bytes.data() + length_at, width);
  const size_t begin = length_at + width;
  if (bytes.size() < begin || length > bytes.size() - begin || begin + length > kMaxNpyHeader)
    fail(ErrorCode::Format, "{}: an array header of {} bytes (at most {} are read); the file may be truncated", where, length,
         kMaxNpyHeader);
  NpyHeader header = LiteralParser(text.substr(begin, length), where).parse();
  header.size = begin + length;
  return header;
}

bool has_npy_dtype(Dtype dtype) {
  for (const Row& row : kRows)
    if (row.dtype == dtype) return true;
  return false;
}

std::string make_npy_header(const TensorInfo& info, uint64_t position) {
  std::string_view descr;
  for (const Row& row : kRows)
    if (row.dtype == info.dtype) descr = row.descr;
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", descr,
                                 fmt::join(info.shape, ", "), info.shape.size() == 1 ? "," : "");
  const uint64_t begin = position + kMagic.size() + 4;
  text.resize((begin + text.size() + 1 + kAlignment - 1) / kAlignment * kAlignment - begin, ' ');
  text.back() = '\n';
  const auto length = static_cast<uint16_t>(text.size());
  return std::string(kMagic) + '\1' + '\0' + std::string(reinterpret_cast<const char*>(&length), sizeof length) + text;
}

}  // namespace taskvec::formats
