// The extension module weft._weft. Private: users import weft.
#include "core/device/device.h"
#include "python/bind/bind.h"

namespace weft::python {

NB_MODULE(_weft, module) {
  module.doc() = "The native part of weft. Private: import weft instead.";
  module.attr("__version__") = WEFT_VERSION;
  bind_errors(module);
  bind_config(module);
  bind_tensor(module);
  bind_topology(module);
  bind_fabric(module);
  module.def(
      "build_info",
      [] {
        nb::dict info;
#ifdef WEFT_WITH_CUDA
        info["cuda"] = true;
#else
        info["cuda"] = false;
#endif
        info["cuda_architectures"] = WEFT_CUDA_ARCHITECTURE_LIST;
        info["compiler"] = WEFT_COMPILER;
        return info;
      },
      "How this extension was built: cuda (bool), cuda_architectures, compiler.");
  module.def(
      "cuda_device_count", [] { return device_count(DeviceKind::cuda); },
      "CUDA devices of this process; 0 without a driver. Never raises.");
}

}  // namespace weft::python
