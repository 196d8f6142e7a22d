#pragma once

#include <zlib.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace taskvec::formats {

/// Makes small zip archives whose every field a test can spoil.
class ZipBuilder {
 public:
  struct File {
    std::string name, data;  ///< data as it lies in the archive
    uint64_t size = 0;       ///< of the file, once inflated
    uint32_t crc = 0;
    uint16_t method = 0, flags = 0;
    bool zip64 = false;
    std::string local_name{};  ///< where it should differ
    uint32_t local_shift = 0;  ///< added to where the directory says that the local header lies
  };

  File& store(const std::string& name, const std::string& data) {
    files_.push_back({name, data, data.size(), crc(data)});
    return files_.back();
  }

  File& deflate(const std::string& name, const std::string& data) {
    z_stream stream{};
    ::deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
    std::string packed(::deflateBound(&stream, data.size()), '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
    stream.avail_in = static_cast<uInt>(data.size());
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(packed.size());
    ::deflate(&stream, Z_FINISH);
    packed.resize(stream.total_out);
    ::deflateEnd(&stream);
    files_.push_back({name, packed, data.size(), crc(data), 8});
    return files_.back();
  }

  std::string bytes(bool end64 = false) const {
    std::string out, directory;
    for (const File& file : files_) {
      const uint64_t header = out.size() + file.local_shift;
      const std::string& local_name = file.local_name.empty() ? file.name : file.local_name;
      const std::string sizes = little(file.size, 8) + little(file.data.size(), 8);
      const std::string extra = file.zip64 ? little(1, 2) + little(16, 2) + sizes : "";
      const std::string common = little(45, 2) + little(file.flags, 2) + little(file.method, 2) + little(0, 4) +
                                 little(file.crc, 4) + little(file.zip64 ? ~0ULL : file.data.size(), 4) +
                                 little(file.zip64 ? ~0ULL : file.size, 4);
      out += little(0x04034b50, 4) + common + little(local_name.size(), 2) + little(extra.size(), 2) + local_name + extra +
             file.data;
      directory += little(0x02014b50, 4) + little(45, 2) + common + little(file.name.size(), 2) + little(extra.size(), 2) +
                   little(0, 2) + little(0, 2) + little(0, 2) + little(0, 4) + little(header, 4) + file.name + extra;
    }
    const uint64_t at = out.size(), end = at + directory.size();
    out += directory;
    if (end64) {
      out += little(0x06064b50, 4) + little(44, 8) + little(45, 2) + little(45, 2) + little(0, 8) + little(files_.size(), 8) +
             little(files_.size(), 8) + little(directory.size(), 8) + little(at, 8);
      out += little(0x07064b50, 4) + little(0, 4) + little(end, 8) + little(1, 4);
    }
    const uint64_t wide = ~0ULL;
    return out + little(0x06054b50, 4) + little(0, 4) + little(end64 ? wide : files_.size(), 2) +
           little(end64 ? wide : files_.size(), 2) + little(end64 ? wide : directory.size(), 4) + little(end64 ? wide : at, 4) +
           little(0, 2);
  }

 private:
  static uint32_t crc(const std::string& data) {
    return static_cast<uint32_t>(::crc32_z(0, reinterpret_cast<const Bytef*>(data.data()), data.size()));
  }
  static std::string little(uint64_t value, size_t bytes) { return std::string(reinterpret_cast<const char*>(&value), bytes); }

  std::vector<File> files_;
};

}  // namespace taskvec::formats
