#include "core/base/error.h"

#include <new>

namespace weft {

const char* error_name(ErrorCode code) noexcept {
  switch (code) {
#define WEFT_ERROR(code, python_name, python_base, meaning) \
  case ErrorCode::code:                                     \
    return #python_name;
#include "core/base/error.def"
#undef WEFT_ERROR
  }
  return "Error";
}

Error current_error() {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "the host has no memory left");
  } catch (const std::exception& error) {
    return Error(ErrorCode::internal, error.what());
  } catch (...) {
    return Error(ErrorCode::internal, "an exception of an unknown type");
  }
}

}  // namespace weft
