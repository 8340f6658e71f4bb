#include "core/ops/copy.h"

#include "core/base/error.h"
#include "core/base/unique.h"
#include "core/ops/strided_copy_cuda.h"
#include "core/tensor/overlap.h"

namespace weft {
namespace {

constexpr std::int64_t kCopyTimeoutNs = 60'000'000'000;

bool on_cuda(const Tensor& tensor) { return tensor.device().kind == DeviceKind::cuda; }

// A stream of its own that is waited for: the copies below block anyway. It follows what the
// default streams of the devices of both tensors have, and with that every stream but the
// non-blocking ones.
class CopyStream {
 public:
  // One of the tensors is on CUDA at least; the stream is of the first that is.
  CopyStream(const Tensor& to, const Tensor& from)
      : device_(device((on_cuda(to) ? to : from).device())),
        stream_(device_.create_stream(StreamPriority::normal), {&device_}),
        event_(device_.create_event(), {&device_}) {
    follow_default_stream(device_);
    if (on_cuda(from) && from.device() != device_.id())
      follow_default_stream(device(from.device()));
  }

  void copy(const Tensor& to, const Tensor& from) {
    device_.copy(stream_.get(), to.data(), from.data(), to.bytes());
  }

  // False where there is no kernel.
  bool strided_copy(const Tensor& to, const Tensor& from) {
    return strided_copy_cuda(device_, stream_.get(), to.data(), to.layout(), from.data(),
                             from.layout(), item_bytes(to.dtype()));
  }

  void wait() {
    device_.record(event_.get(), stream_.get());
    if (device_.synchronize(event_.get(), Deadline::after_ns(kCopyTimeoutNs))) return;
    throw Error(ErrorCode::device_lost, "a copy has not ended after 60 s",
                {.device = device_.id().str()});
  }

 private:
  struct DestroyStream {
    Device* device = nullptr;
    void operator()(Stream stream) const noexcept { device->destroy_stream(stream); }
  };
  struct DestroyEvent {
    Device* device = nullptr;
    void operator()(Event event) const noexcept { device->destroy_event(event); }
  };

  void follow_default_stream(Device& of) {
    const Unique<Event, DestroyEvent> reached(of.create_event(), {&of});
    of.record(reached.get(), Stream{});
    device_.wait(stream_.get(), reached.get());
  }

  Device& device_;
  Unique<Stream, DestroyStream> stream_;
  Unique<Event, DestroyEvent> event_;
};

[[noreturn]] void no_strided_kernel(const Tensor& tensor) {
  throw Error(ErrorCode::device_mismatch,
              concat("no strided copy on ", tensor.device().str(), " for shape ",
                     tensor.layout().str(), ": at most 8 dimensions"),
              {.device = tensor.device().str()});
}

// One strided view to another that is on the same CUDA device.
void strided_copy_on_device(const Tensor& to, const Tensor& from) {
  CopyStream stream(to, from);
  if (!stream.strided_copy(to, from)) no_strided_kernel(to);
  stream.wait();
}

void copy_on_host(const Tensor& to, const Tensor& from) {
  strided_copy_host(to.data(), to.layout(), from.data(), from.layout(), item_bytes(to.dtype()));
}

Tensor contiguous_like(const Tensor& tensor) {
  return Tensor::empty(tensor.layout().sizes(), tensor.dtype(), tensor.device());
}

// Between host and a CUDA device, or two CUDA devices: whatever is strided is gathered on its own
// side first, or scattered there at the end.
void copy_between(const Tensor& to, const Tensor& from) {
  Tensor source = from;
  if (!from.layout().is_contiguous()) {
    source = contiguous_like(from);
    (on_cuda(from) ? strided_copy_on_device : copy_on_host)(source, from);
  }
  const bool scatter = !to.layout().is_contiguous();
  const Tensor target = scatter ? contiguous_like(to) : to;
  CopyStream stream(target, source);
  stream.copy(target, source);
  stream.wait();
  if (scatter) (on_cuda(to) ? strided_copy_on_device : copy_on_host)(to, target);
}

// Of two tensors with the same sizes.
bool same_view(const Tensor& a, const Tensor& b) {
  if (a.data() != b.data()) return false;
  for (int i = 0; i < a.layout().dims(); ++i) {
    if (a.layout().sizes()[i] > 1 && a.layout().strides()[i] != b.layout().strides()[i])
      return false;
  }
  return true;
}

void check_copy(const Tensor& to, const Tensor& from) {
  if (!to.defined() || !from.defined()) {
    fail(ErrorCode::invalid_argument, "a tensor without memory cannot be copied");
  }
  if (!to.layout().same_sizes(from.layout())) {
    fail(ErrorCode::shape_mismatch, "shape ", from.layout().str(), " does not fit into ",
         to.layout().str());
  }
  if (to.dtype() != from.dtype()) {
    fail(ErrorCode::dtype_mismatch, dtype_name(from.dtype()), " elements cannot be copied to ",
         dtype_name(to.dtype()));
  }
  if (to.read_only()) fail(ErrorCode::read_only_buffer, "the target of the copy is read-only");
  if (to.layout().overlaps_itself()) {
    fail(ErrorCode::alias, "the target of the copy names some of its memory twice");
  }
  if (!same_view(to, from) && tensors_overlap(to, from)) {
    fail(ErrorCode::alias, "the source of the copy shares part of the target's memory");
  }
}

}  // namespace

void copy_tensor(const Tensor& to, const Tensor& from) {
  check_copy(to, from);
  if (to.layout().elements() == 0 || same_view(to, from)) return;
  if (!on_cuda(to) && !on_cuda(from)) {
    copy_on_host(to, from);
  } else if (to.device() == from.device() &&
             !(to.layout().is_contiguous() && from.layout().is_contiguous())) {
    strided_copy_on_device(to, from);
  } else {
    copy_between(to, from);
  }
  to.storage()->bump_version();
}

}  // namespace weft
