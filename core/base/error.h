// The one exception family of weft.
//
// Invariants
//   1. Every failure that leaves a public function is a weft::Error with a code from error.def.
//   2. A call that throws before it launched anything has changed nothing.
//   3. Nothing here allocates in a destructor, and destructors never throw.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace weft {

enum class ErrorCode : std::uint8_t {
#define WEFT_ERROR(code, python_name, python_base, meaning) code,
#include "core/base/error.def"
#undef WEFT_ERROR
};

// The name users see, e.g. "ShapeMismatch".
const char* error_name(ErrorCode code) noexcept;

// Where a fault happened, as far as it is known. Ranks, device ordinals and steps are plain
// integers here because this is the form in which they leave the library.
struct ErrorContext {
  std::optional<int> rank{};
  std::optional<std::string> device{};
  std::optional<int> step{};
  std::vector<int> culprits{};
};

class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string message, ErrorContext context = {})
      : code_(code), message_(std::move(message)), context_(std::move(context)) {}

  const char* what() const noexcept override { return message_.c_str(); }
  ErrorCode code() const noexcept { return code_; }
  const std::string& message() const noexcept { return message_; }
  const ErrorContext& context() const noexcept { return context_; }

 private:
  ErrorCode code_;
  std::string message_;
  ErrorContext context_;
};

// Joins anything that can be streamed: concat("rank ", 3, " has ", shape).
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

// The exception that is being handled, as an Error: std::bad_alloc and a thread that cannot be
// started are OutOfMemory, what else is no Error is InternalError.
Error current_error();

template <class... Parts>
[[noreturn]] void fail(ErrorCode code, const Parts&... parts) {
  throw Error(code, concat(parts...));
}

}  // namespace weft
