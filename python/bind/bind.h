// The parts of the extension module, one a file.
#pragma once

#include <nanobind/nanobind.h>

#include <stdexcept>

#include "core/base/error.h"

namespace weft::python {

namespace nb = nanobind;

void bind_errors(nb::module_& module);
void bind_config(nb::module_& module);
void bind_tensor(nb::module_& module);
void bind_topology(nb::module_& module);
void bind_probe(nb::module_& module);
void bind_stream(nb::module_& module);
void bind_event(nb::module_& module);
void bind_fabric(nb::module_& module);

// Lets go of the GIL, as nb::gil_scoped_release does, for what needs it again now and then.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() { PyEval_RestoreThread(state_); }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

  // The GIL for a while, on the same thread. nb::gil_scoped_acquire makes a new thread state, of an
  // interpreter that may have ended; here a thread that outlives it rests.
  class Hold {
   public:
    explicit Hold(WithoutGil& without) noexcept : without_(without) {
      PyEval_RestoreThread(without_.state_);
    }
    ~Hold() { without_.state_ = PyEval_SaveThread(); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    WithoutGil& without_;
  };

 private:
  PyThreadState* state_;
};

// Lets daemon threads come to rest where the interpreter ends, instead of ending the process.
void rest_at_finalization();
// callable(*args, **kwargs), for what may run Python code: a thread that is ended in there rests
// too.
nb::object call_python(nb::handle callable, const nb::tuple& args, const nb::dict& kwargs);

// The Python exception object of an error, with all its fields.
nb::object exception_of(const Error& error);
// The error that such an object stands for; InvalidArgument with its type and text if none of
// weft's.
Error error_of(nb::handle exception);

}  // namespace weft::python
