// How this extension was built. The values are CMake's: build_info.cc.in.
#pragma once

namespace weft::python {

struct BuildInfo {
  const char* version;
  bool cuda;
  const char* cuda_architectures;  // "90a;100f", as CMake lists them
  const char* compiler;            // name and version
};
extern const BuildInfo kBuildInfo;

}  // namespace weft::python
