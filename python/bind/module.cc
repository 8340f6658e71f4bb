// The extension module weft._weft. Private: users import weft.
#include "core/device/device.h"
#include "python/bind/bind.h"
#include "python/bind/build_info.h"

namespace weft::python {
namespace {

// Types and errors are made once for the process. A second module, of another interpreter or after
// the first was forgotten, would take them over from those that use them.
bool is_made = false;

}  // namespace

NB_MODULE(once, module) {
  is_made = true;
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

// What Python calls; asks before nanobind prepares anything for another module.
extern "C" NB_EXPORT PyObject* PyInit__weft() {
  if (!weft::python::is_made) return weft::python::PyInit_once();
  PyErr_SetString(PyExc_ImportError,
                  "weft cannot be imported twice in one process, nor in a second interpreter: keep "
                  "the module, or start another process");
  return nullptr;
}
