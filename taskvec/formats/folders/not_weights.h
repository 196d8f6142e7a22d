#pragma once

#include "taskvec/core/files/mapped_file.h"

namespace taskvec::formats {

/// Downloads that went wrong leave something else under a model's name: a Git LFS pointer, a page of HTML or XML, a server's
/// error as JSON or text. Before any format's own message.
/// @throws Error{Format} saying which, and what to do; nothing of the contents is quoted
void check_is_no_page(const MappedFile& file);

}  // namespace taskvec::formats
