#include "core/base/error.h"

#include <new>
#include <system_error>

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
  } catch (const std::system_error& error) {
    // What starts a thread beyond the limit.
    const bool full = error.code() == std::errc::resource_unavailable_try_again;
    return full ? Error(ErrorCode::out_of_memory, "the system has no room for another thread")
                : Error(ErrorCode::internal, error.what());
  } catch (const std::exception& error) {
    return Error(ErrorCode::internal, error.what());
  } catch (...) {
    return Error(ErrorCode::internal, "an exception of an unknown type");
  }
}

}  // namespace weft
