#pragma once

#include "taskvec/core/error.h"

#include <gtest/gtest.h>

#include <string>

namespace taskvec {

/// What the error that an action throws says; "no error" where it throws none.
template <typename Action>
std::string message_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

/// The same of an error that should have this code.
template <typename Action>
std::string message_of(ErrorCode code, const Action& action) {
  return message_of([&] {
    try {
      action();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      throw;
    }
  });
}

}  // namespace taskvec
