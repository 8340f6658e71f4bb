// Of what was built.
#pragma once

namespace weft::bench {

extern const char* const kVersion;  // "0.1.0"

}  // namespace weft::bench
