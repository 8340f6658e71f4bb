// Fails the test unless the call throws a weft::Error of that code.
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "core/base/error.h"

template <class Call>
void expect_error(weft::ErrorCode code, Call&& call) {
  std::string thrown = "nothing";
  try {
    call();
  } catch (const weft::Error& error) {
    thrown = weft::error_name(error.code());
    CHECK_FALSE(error.message().empty());
  }
  CHECK(thrown == weft::error_name(code));
}
