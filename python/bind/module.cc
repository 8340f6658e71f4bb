// The extension module weft._weft. Private: users import weft.
#include "core/device/device.h"
#include "python/bind/bind.h"
#include "python/bind/build_info.h"

namespace weft::python {

NB_MODULE(_weft, module) {
  module.doc() = "The native part of weft. Private: import weft instead.";
  module.attr("__version__") = kBuildInfo.version;
  rest_at_finalization();
  bind_errors(module);
  bind_config(module);
  bind_tensor(module);
  bind_topology(module);
  bind_probe(module);
  bind_stream(module);
  bind_event(module);
  bind_fabric(module);
  module.def(
      "build_info",
      [] {
        nb::dict info;
        info["cuda"] = kBuildInfo.cuda;
        info["cuda_architectures"] = kBuildInfo.cuda_architectures;
        info["compiler"] = kBuildInfo.compiler;
        return info;
      },
      "How this extension was built: cuda (bool), cuda_architectures, compiler.");
  // Objects that outlive the interpreter (a global, a cycle through another library) are no fault
  // of the user's: only the tests ask to be told.
  nb::set_leak_warnings(false);
  module.def("set_leak_warnings", &nb::set_leak_warnings, nb::arg("enabled"),
             "Tests: whether objects that are left at exit are reported on stderr.");
  module.def(
      "cuda_device_count", [] { return device_count(DeviceKind::cuda); },
      "CUDA devices of this process; 0 without a driver. Never raises.");
}

}  // namespace weft::python
