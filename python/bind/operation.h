// Operations and recorded graphs as Python holds them, and how it waits for them.
//
// Invariants
//   1. A wait does not hold the GIL, and wakes up now and then to see Ctrl-C: an interrupted wait
//      aborts the operation.
//
// Thread safety: the GIL is held by every caller.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "fabric/fabric.h"
#include "python/bind/bind.h"

namespace weft::python {

// An operation keeps its fabric.
struct OperationHandle {
  std::shared_ptr<fabric::Fabric> fabric;
  std::shared_ptr<fabric::Operation> operation;
};

// Seconds as Python gives them; negative: 0, which stands for the fabric's timeout. Throws
// InvalidArgument.
std::int64_t timeout_ns(double seconds);

// The error, with the device of the rank that it concerns.
Error located(const fabric::Fabric& fabric, const Error& error);

// f(), whose errors are `located`.
template <class F>
auto with_devices(const fabric::Fabric& fabric, const F& f) {
  try {
    return f();
  } catch (const Error& error) {
    throw located(fabric, error);
  }
}

// Calls wait(deadline) without the GIL until it says that what is waited for has come; false: the
// deadline came first. Ctrl-C ends the wait: then interrupted() is called before it is raised.
template <class Wait, class Interrupted>
bool wait_interruptibly(Deadline deadline, const Wait& wait, const Interrupted& interrupted) {
  constexpr std::int64_t kSignalInterval = 50'000'000;  // ns between two looks for Ctrl-C
  while (true) {
    bool ended;
    {
      const nb::gil_scoped_release released;
      const std::int64_t left = std::max<std::int64_t>(0, deadline.left_ns());
      ended = wait(Deadline::after_ns(std::min(kSignalInterval, left)));
    }
    if (ended) return true;
    if (PyErr_CheckSignals() != 0) {
      interrupted();
      throw nb::python_error();
    }
    if (deadline.passed()) return false;
  }
}

// Waits at most `limit_ns`; 0: for as long as it takes.
void wait_ns(const OperationHandle& handle, std::int64_t limit_ns);

// The ranks' streams: those given, or the default ones of CUDA devices.
std::vector<Stream> user_streams(const fabric::Fabric& fabric,
                                 const std::optional<std::vector<std::int64_t>>& handles);

// Calls f(interrupted) without the GIL; a rank that waits in it looks for Ctrl-C now and then.
template <class F>
auto interruptible(const F& f) {
  bool signalled = false;
  const auto interrupted = [&] {
    const nb::gil_scoped_acquire acquired;
    signalled = signalled || PyErr_CheckSignals() != 0;
    return signalled;
  };
  try {
    const nb::gil_scoped_release released;
    return f(interrupted);
  } catch (const Error&) {
    if (!signalled) throw;
  }
  throw nb::python_error();
}

void bind_operation(nb::module_& module);
// Graphs, and what a fabric has for recording them.
void bind_graph(nb::module_& module, nb::class_<fabric::Fabric>& type);

}  // namespace weft::python
