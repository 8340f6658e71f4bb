// What becomes of daemon threads that are in weft when the interpreter ends.
//
// Before Python 3.14 a thread that asks for the GIL of an interpreter that has ended is ended by
// pthread_exit, which unwinds its stack; and no C++ frame that is noexcept, as those are that take
// the GIL (destructors of nb::gil_scoped_release among them), may be unwound: std::terminate is
// called there. Python 3.14 lets such a thread rest for as long as the process lives. So does this,
// in the terminate handler, which is called before anything of such a frame's callers is undone.
// Where weft calls Python code that may run for long, it does so from a frame that is noexcept, so
// that the frames around it do not let go of Python objects without the GIL. Where it runs Python
// code unawares (a property of NumPy), the first of those frames that would free an object rests:
// the linker gives this module __wrap__Py_Dealloc for _Py_Dealloc.
//
// Thread safety: set once, when the module is made; called on any thread.
#include <unistd.h>

#include <cstdlib>
#include <exception>

#include "python/bind/bind.h"

namespace weft::python {
namespace {

std::terminate_handler next_handler = nullptr;

// The main thread is the one that ends the interpreter.
bool is_main_thread() { return gettid() == getpid(); }

bool outlives_interpreter() { return Py_IsInitialized() == 0 && !is_main_thread(); }

[[noreturn]] void rest() {
  while (true) pause();
}

[[noreturn]] void rest_or_terminate() {
  // A thread that is made to end has no exception, unlike most that fail.
  if (!std::current_exception() && outlives_interpreter()) rest();
  next_handler();
  std::abort();  // it has returned, and may not
}

PyObject* call_and_keep_frame(PyObject* callable, PyObject* args, PyObject* kwargs) noexcept {
  return PyObject_Call(callable, args, kwargs);
}

}  // namespace

extern "C" {
void __real__Py_Dealloc(PyObject* object);
void __wrap__Py_Dealloc(PyObject* object) {
  if (outlives_interpreter()) rest();
  __real__Py_Dealloc(object);
}
}

nb::object call_python(nb::handle callable, const nb::tuple& args, const nb::dict& kwargs) {
  PyObject* result = call_and_keep_frame(callable.ptr(), args.ptr(), kwargs.ptr());
  if (!result) throw nb::python_error();
  return nb::steal(result);
}

void rest_at_finalization() {
  if (std::get_terminate() == rest_or_terminate) return;
  next_handler = std::set_terminate(rest_or_terminate);
}

}  // namespace weft::python
