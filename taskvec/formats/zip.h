#pragma once

#include "taskvec/core/files/mapped_file.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace taskvec::formats {

/// One file of a zip archive. Its `compressed` bytes at `offset` were checked to lie inside the archive.
struct ZipEntry {
  std::string name;         ///< UTF-8, relative, without '..' and '\'
  uint64_t offset = 0;      ///< of the first byte of its data in the archive
  uint64_t compressed = 0;  ///< bytes in the archive; == size unless deflated
  uint64_t size = 0;        ///< bytes of the file; at most what deflate can make of `compressed` bytes
  uint32_t crc = 0;         ///< CRC-32 of the file; not checked by read_zip_directory()
  bool deflated = false;    ///< otherwise stored: the file is bytes().subspan(offset, size)
};

/// The most files that an archive may hold.
constexpr uint64_t kMaxZipEntries = 2'000'000;
/// The longest name of a file in an archive, in bytes.
constexpr uint64_t kMaxZipName = 4096;

/// Whether the bytes start like a zip archive.
bool is_zip(std::span<const std::byte> bytes);

/// The files of an archive in order of their bytes; folders are left out. Every entry agrees with its local header, none overlaps
/// another, no name is there twice. Reads the directory and the local headers alone.
/// Source: PKWARE's APPNOTE.TXT 6.3.10 (zip64 included).
/// @throws Error{Format} for a broken rule or a name that reaches out of its folder, Error{Unsupported} for encryption, several
/// disks and methods other than stored and deflated
std::vector<ZipEntry> read_zip_directory(const MappedFile& file);

/// The bytes of a deflated entry, entry.size of them, their CRC checked. @throws Error{Format}
std::vector<std::byte> inflate(const MappedFile& file, const ZipEntry& entry);

/// The first `size` bytes of a deflated entry (all, if there are fewer), for headers; no CRC is checked. @throws Error{Format}
std::vector<std::byte> inflate_start(const MappedFile& file, const ZipEntry& entry, uint64_t size);

/// What an archive says behind its directory, "" where it says nothing. @throws as read_zip_directory()
std::string_view zip_comment(const MappedFile& file);

/// Whether a stored entry's bytes have its CRC. (Writers may be told to leave CRCs out: a mismatch is a hint, not a proof.)
bool crc_matches(const MappedFile& file, const ZipEntry& entry);

}  // namespace taskvec::formats
