// Operations and recorded graphs as Python holds them, and how it waits for them.
//
// Invariants
//   1. A wait does not hold the GIL, and wakes up now and then to see Ctrl-C: an interrupted wait
//      aborts the operation.
//   2. An operation that was launched is handed out, even where its launch was interrupted: without
//      it nobody would know until when its tensors are used.
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
  // An exception that a signal's handler raised while it was launched, to be raised once the caller
  // holds what the operation uses: by its first wait, or raise_interruption().
  std::optional<nb::python_error> interruption{};
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

// Waits at most `limit_ns`; 0: as long as Operation::wait does. Throws what the operation ended
// with, CollectiveTimeout if it has not ended, FabricClosed in the child of a fork().
void wait_ns(OperationHandle& handle, std::int64_t limit_ns);

// The ranks' streams: those given, or the default ones of CUDA devices.
std::vector<Stream> user_streams(const fabric::Fabric& fabric,
                                 const std::optional<std::vector<std::int64_t>>& handles);

// Ctrl-C, seen by who waits without the GIL: what a signal's handler raised, out of Python's sight
// until it can be raised.
class Interruption {
 public:
  // Where it is asked; outlives the asking.
  void within(WithoutGil& without) { without_ = &without; }
  // Has there been one, by now?
  bool operator()() {
    if (caught_) return true;
    const WithoutGil::Hold held(*without_);
    if (PyErr_CheckSignals() != 0) caught_.emplace();
    return caught_.has_value();
  }
  explicit operator bool() const { return caught_.has_value(); }
  // With the GIL:
  [[noreturn]] void raise() const { throw *caught_; }
  std::optional<nb::python_error> caught() const { return caught_; }

 private:
  WithoutGil* without_ = nullptr;
  std::optional<nb::python_error> caught_;
};

// Calls f(interrupted), which launches, without the GIL; what waits in it asks now and then. An
// interrupted launch that fails raises the interruption instead; one that does not, later.
template <class F>
OperationHandle interruptible(const std::shared_ptr<fabric::Fabric>& fabric, const F& f) {
  Interruption interruption;
  std::shared_ptr<fabric::Operation> operation;
  try {
    WithoutGil without;
    interruption.within(without);
    operation = f(interruption);
  } catch (...) {
    if (!interruption) throw;
  }
  if (!operation) interruption.raise();
  return {fabric, std::move(operation), interruption.caught()};
}

void bind_operation(nb::module_& module);
void bind_chunks(nb::class_<fabric::Fabric>& type);
// Graphs, and what a fabric has for recording them.
void bind_graph(nb::module_& module, nb::class_<fabric::Fabric>& type);

}  // namespace weft::python
