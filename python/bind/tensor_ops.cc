// Moves, copies and views by index. See numpy.cc for what needs NumPy.
#include "python/bind/tensor_ops.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/ops/copy.h"

namespace weft::python {
namespace {

using Numbers = std::vector<std::int64_t>;

// The view that an index makes, dimension by dimension.
class IndexedView {
 public:
  explicit IndexedView(const Tensor& tensor) : tensor_(tensor), offset_(tensor.offset()) {}

  void add_new_axis() {
    sizes_.push_back(1);
    strides_.push_back(0);
  }

  void keep(int count) {
    for (; count > 0; --count) keep_part(0, tensor_.layout().sizes()[dim_], 1);
  }

  void slice(nb::slice part) {
    need_dim();
    const auto [start, stop, step, length] =
        part.compute(static_cast<std::size_t>(tensor_.layout().sizes()[dim_]));
    static_cast<void>(stop);
    keep_part(start, static_cast<std::int64_t>(length), step);
  }

  void pick(std::int64_t index) {
    need_dim();
    const std::int64_t size = tensor_.layout().sizes()[dim_];
    if (index < -size || index >= size) {
      throw nb::index_error(concat("index ", index, " is outside dimension ", dim_, " of shape ",
                                   tensor_.layout().str())
                                .c_str());
    }
    offset_ += (index < 0 ? index + size : index) * tensor_.layout().strides()[dim_];
    ++dim_;
  }

  Tensor finish() {
    keep(tensor_.layout().dims() - dim_);
    return Tensor(tensor_.storage(), tensor_.dtype(), Layout::strided(sizes_, strides_), offset_);
  }

 private:
  void need_dim() const {
    if (dim_ < tensor_.layout().dims()) return;
    throw nb::index_error(concat("too many indices for shape ", tensor_.layout().str()).c_str());
  }

  void keep_part(std::int64_t start, std::int64_t length, std::int64_t step) {
    const std::int64_t stride = tensor_.layout().strides()[dim_];
    if (length > 0) offset_ += start * stride;
    sizes_.push_back(length);
    // A step across one element at most may be anything; its product with the stride may not fit.
    strides_.push_back(length > 1 ? stride * step : stride);
    ++dim_;
  }

  const Tensor& tensor_;
  Numbers sizes_;
  Numbers strides_;
  std::int64_t offset_;
  int dim_ = 0;
};

bool is_number_index(nb::handle item) {
  return PyIndex_Check(item.ptr()) && !nb::isinstance<nb::bool_>(item);
}

int indexed_dims(nb::handle items) {
  int count = 0;
  for (nb::handle item : items) count += nb::isinstance<nb::slice>(item) || is_number_index(item);
  return count;
}

void infer_size(Numbers& sizes, std::int64_t elements) {
  const auto unknown = std::ranges::find(sizes, -1);
  if (unknown == sizes.end()) return;
  if (std::ranges::count(sizes, -1) > 1) {
    fail(ErrorCode::invalid_argument, "only one size of a shape may be -1");
  }
  *unknown = 1;
  const std::int64_t known = Layout::contiguous(sizes).elements();
  *unknown = known == 0 ? 0 : elements / known;
}

}  // namespace

void copy_elements(const Tensor& to, const Tensor& from) {
  without_gil(to.bytes(), [&] { copy_tensor(to, from); });
}

Tensor clone_to(const Tensor& tensor, DeviceId device) {
  const Tensor copy = Tensor::empty(tensor.layout().sizes(), tensor.dtype(), device);
  copy_elements(copy, tensor);
  return copy;
}

Tensor move_to(const Tensor& tensor, DeviceId device) {
  return tensor.device() == device ? tensor : clone_to(tensor, device);
}

Tensor contiguous(const Tensor& tensor) {
  return tensor.layout().is_contiguous() ? tensor : clone_to(tensor, tensor.device());
}

Tensor reshape(const Tensor& tensor, Numbers sizes) {
  infer_size(sizes, tensor.layout().elements());
  Layout layout = Layout::contiguous(sizes);
  if (layout.elements() != tensor.layout().elements()) {
    fail(ErrorCode::shape_mismatch, "shape ", tensor.layout().str(), " cannot become ",
         layout.str());
  }
  const Tensor ordered = contiguous(tensor);
  return Tensor(ordered.storage(), ordered.dtype(), std::move(layout), ordered.offset());
}

Tensor index_view(const Tensor& tensor, nb::handle key) {
  nb::object items = nb::borrow(key);
  if (!nb::isinstance<nb::tuple>(key)) items = nb::make_tuple(key);
  IndexedView view(tensor);
  bool seen_ellipsis = false;
  for (nb::handle item : items) {
    if (nb::isinstance<nb::slice>(item)) {
      view.slice(nb::borrow<nb::slice>(item));
    } else if (item.is_none()) {
      view.add_new_axis();
    } else if (nb::isinstance<nb::ellipsis>(item) && !seen_ellipsis) {
      seen_ellipsis = true;
      view.keep(tensor.layout().dims() - indexed_dims(items));
    } else if (is_number_index(item)) {
      view.pick(parse_integer(item, "an index"));
    } else {
      fail(ErrorCode::invalid_argument,
           "an index is made of integers, slices, None and one ellipsis, not ", repr_of(item));
    }
  }
  return view.finish();
}

}  // namespace weft::python
