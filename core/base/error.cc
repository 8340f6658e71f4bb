#include "core/base/error.h"

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

}  // namespace weft
