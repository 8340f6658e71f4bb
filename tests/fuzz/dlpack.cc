// Fuzz target: DLPack structs of which every field is hostile.
//
// What must hold
//   1. A struct without a fault is taken, as the view that it claims and not a byte more; one with
//      faults is refused, with the code of one of them. Which faults there are is told by
//      `Claim`, in wider numbers than the library's.
//   2. The deleter runs once: when the import fails, also for want of memory at any allocation, or
//      with the last view.
//   3. What is exported again says the same; nothing is read behind the arrays, nor of a foreign
//      version behind its deleter (AddressSanitizer sees to that).
#include "core/tensor/dlpack.h"

#include <array>
#include <memory>
#include <new>
#include <optional>
#include <vector>

#include "core/base/error.h"
#include "core/ops/copy.h"
#include "tests/fuzz/dlpack_claim.h"
#include "tests/fuzz/target.h"

namespace {

// How many more allocations succeed while it is in force; -1: all.
int allocations_left = -1;

class FailingMemory {
 public:
  explicit FailingMemory(int& left) : left_(left) { allocations_left = left; }
  ~FailingMemory() {
    left_ = allocations_left;
    allocations_left = -1;
  }

 private:
  int& left_;
};

}  // namespace

void* operator new(std::size_t bytes) {
  if (allocations_left == 0) throw std::bad_alloc();
  if (allocations_left > 0) --allocations_left;
  void* memory = std::malloc(bytes > 0 ? bytes : 1);
  if (!memory) throw std::bad_alloc();
  return memory;
}
void* operator new[](std::size_t bytes) { return operator new(bytes); }
// AddressSanitizer's own would not go with the operators below.
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return std::malloc(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace weft::fuzz {
namespace {

namespace dlpack = weft::dlpack;
using dlpack::Managed;
using dlpack::ManagedVersioned;

enum class Form { versioned, legacy, borrowed };

// Memory that structs may point to; aligned to any element.
alignas(64) std::array<std::byte, 4096> memory;

// A struct made of the input. Its arrays are as long as it says, or shorter where it lies so that
// they must not be read.
struct Produced {
  Form form = Form::versioned;
  bool deletes = true;
  int allocations = -1;  // that the import may make
  std::uint32_t major = 1;
  std::uint32_t minor = 0;
  std::uint64_t flags = 0;
  dlpack::View view{};
  std::unique_ptr<std::int64_t[]> shape;
  std::unique_ptr<std::int64_t[]> strides;
  int deleted = 0;
};

std::unique_ptr<std::int64_t[]> array_of(Input& input, std::int32_t ndim) {
  const auto count = static_cast<std::size_t>(ndim < 0 || ndim > kMaxDims ? 0 : ndim);
  auto values = std::make_unique<std::int64_t[]>(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = input.number();
  return values;
}

void* data_of(Input& input, int kind) {
  const std::int64_t number = input.number();
  if (kind == 2) return nullptr;
  if (kind == 3) return reinterpret_cast<void*>(static_cast<std::uintptr_t>(number));
  return memory.data() + memory.size() / 2 + number % 1024;
}

Produced produced(Input& input) {
  Produced made;
  const std::uint8_t form = input.byte();
  made.form = std::array{Form::versioned, Form::versioned, Form::legacy, Form::borrowed}[form & 3];
  made.deletes = (form & 16) == 0;
  const std::uint8_t failing = input.byte();
  made.allocations = failing == 0 ? -1 : failing - 1;
  if (made.form == Form::versioned) {
    made.major = input.number_as<std::uint32_t>();
    made.minor = input.number_as<std::uint32_t>();
    made.flags = input.number_as<std::uint64_t>();
  }
  dlpack::View& view = made.view;
  const std::uint8_t type = input.byte();
  if (type < kTypes.size()) {
    view.dtype = kTypes[type].type;
  } else {
    view.dtype.code = input.byte();
    view.dtype.bits = input.byte();
    view.dtype.lanes = input.number_as<std::uint16_t>();
  }
  view.device_type = input.number_as<std::int32_t>();
  view.device_id = input.number_as<std::int32_t>();
  view.ndim = input.number_as<std::int32_t>();
  view.byte_offset = input.number_as<std::uint64_t>();
  view.data = data_of(input, form >> 5 & 3);
  made.shape = array_of(input, view.ndim);
  made.strides = array_of(input, view.ndim);
  view.shape = form & 4 ? nullptr : made.shape.get();
  view.strides = form & 8 ? nullptr : made.strides.get();
  return made;
}

// Enough of a struct for its reader: a foreign version ends behind the deleter.
template <class Struct>
Struct* managed_of(Produced& made) {
  std::size_t bytes = sizeof(Struct);
  if (std::is_same_v<Struct, ManagedVersioned> && made.major != dlpack::kMajorVersion) {
    bytes = offsetof(ManagedVersioned, flags);
  }
  Struct whole{};
  if constexpr (std::is_same_v<Struct, ManagedVersioned>) {
    whole.major = made.major;
    whole.minor = made.minor;
    whole.flags = made.flags;
  }
  whole.context = &made.deleted;
  if (made.deletes) whole.deleter = [](Struct* self) { ++*static_cast<int*>(self->context); };
  whole.view = made.view;
  void* managed = std::malloc(bytes);
  std::memcpy(managed, &whole, bytes);
  return static_cast<Struct*>(managed);
}

// What came of an import: a tensor, or why there is none.
struct Outcome {
  std::optional<Tensor> tensor{};
  std::optional<ErrorCode> refused{};
  bool out_of_memory = false;
};

template <class Import>
Outcome outcome_of(int& allocations, Import&& import) {
  Outcome outcome;
  try {
    const FailingMemory failing(allocations);
    outcome.tensor = import();
  } catch (const Error& error) {
    outcome.refused = error.code();
  } catch (const std::bad_alloc&) {
    outcome.out_of_memory = true;
  }
  return outcome;
}

void check_layout(const Claim& claim, const Layout& layout) {
  require(layout.dims() == claim.dims(), "the view has the dimensions claimed");
  require(std::ranges::equal(layout.sizes(), claim.sizes()), "the sizes are those claimed");
  require(std::ranges::equal(layout.strides(), claim.strides()), "the strides are those claimed");
  require(layout.elements() == claim.elements(), "the elements are the product of the sizes");
  if (claim.elements() > 256) {
    layout.overlaps_itself();  // ends, whatever it says
    return;
  }
  const std::vector<std::int64_t> offsets = claim.offsets();
  require(layout.overlaps_itself() == has_twice(offsets), "overlap is told as it is");
  require(!layout.is_contiguous() || is_row_major(offsets), "contiguous is row-major");
}

// Reads every element, where the struct claims nothing but memory that is there.
void check_elements(const Claim& claim, const Tensor& tensor) {
  const auto begin = reinterpret_cast<std::uintptr_t>(memory.data());
  const std::span<std::byte> touched = tensor.touched();
  const auto at = reinterpret_cast<std::uintptr_t>(touched.data());
  if (touched.empty() || at < begin || at + touched.size() > begin + memory.size()) return;
  if (claim.elements() > 256) return;
  const auto item = static_cast<std::size_t>(item_bytes(tensor.dtype()));
  std::vector<std::byte> copied(static_cast<std::size_t>(claim.elements()) * item);
  strided_copy_host(copied.data(), Layout::contiguous(claim.sizes()), tensor.data(),
                    tensor.layout(), item_bytes(tensor.dtype()));
  const std::byte* to = copied.data();
  for (const std::int64_t offset : claim.offsets()) {
    const auto* from =
        static_cast<const std::byte*>(tensor.data()) + offset * static_cast<std::int64_t>(item);
    require(std::memcmp(to, from, item) == 0, "each element is the one claimed");
    to += item;
  }
}

template <class Struct>
void check_export(const Tensor& tensor, Struct* managed) {
  const dlpack::View& view = managed->view;
  const Layout& layout = tensor.layout();
  const auto dims = static_cast<std::size_t>(view.ndim);
  require(view.data == tensor.data() && view.byte_offset == 0, "the first element is exported");
  require(view.device_type == dlpack::kCpu && view.device_id == 0, "host memory is exported so");
  require(dtype_of(view.dtype) == tensor.dtype(), "the type is exported as it came");
  require(view.ndim == layout.dims(), "the dimensions are exported");
  require(std::ranges::equal(std::span(view.shape, dims), layout.sizes()), "so are the sizes");
  require(std::ranges::equal(std::span(view.strides, dims), layout.strides()), "and the strides");
  const Tensor back = dlpack::from_dlpack(managed);
  require(back.data() == tensor.data() && back.layout().same_sizes(layout), "it goes round");
  require(back.touched().size() == tensor.touched().size(), "with the same span");
}

void check_exports(const Tensor& tensor, int& allocations) {
  ManagedVersioned* versioned = nullptr;
  const Outcome exported = outcome_of(allocations, [&] {
    versioned = dlpack::to_dlpack_versioned(tensor);
    return Tensor();
  });
  require(exported.tensor || exported.out_of_memory, "any tensor can be exported");
  if (versioned) {
    require(((versioned->flags & dlpack::kReadOnlyFlag) != 0) == tensor.read_only(),
            "read-only memory stays so");
    check_export(tensor, versioned);
  }
  Managed* legacy = nullptr;
  const Outcome old = outcome_of(allocations, [&] {
    legacy = dlpack::to_dlpack(tensor);
    return Tensor();
  });
  require(!tensor.read_only() || !legacy, "read-only memory has no legacy form");
  require(old.out_of_memory || old.refused.has_value() == tensor.read_only(),
          "any other tensor has one");
  if (legacy) check_export(tensor, legacy);
}

void check_tensor(const Claim& claim, const Produced& made, const Tensor& tensor) {
  require(tensor.dtype() == claim.dtype(), "the type is the one claimed");
  require(tensor.device() == DeviceId{}, "host memory is on cpu");
  require(tensor.read_only() ==
              (made.form == Form::versioned && (made.flags & dlpack::kReadOnlyFlag) != 0),
          "memory is read-only where the struct says so");
  require(tensor.storage()->is_borrowed() == (made.form == Form::borrowed), "it is owned");
  check_layout(claim, tensor.layout());
  const std::span<std::byte> touched = tensor.touched();
  require(static_cast<std::int64_t>(touched.size()) == tensor.storage()->bytes().value(),
          "the storage is what the view touches");
  require(touched.data() == tensor.storage()->data(), "from its beginning");
  if (claim.elements() == 0) {
    require(touched.empty(), "an empty view touches nothing");
    return;
  }
  require(reinterpret_cast<std::uintptr_t>(tensor.data()) == claim.first(), "the first is there");
  require(reinterpret_cast<std::uintptr_t>(touched.data()) == claim.begin(), "the span begins so");
  require(touched.size() == claim.bytes(), "and is as long as claimed");
  check_elements(claim, tensor);
}

void check(Produced& made, const Claim& claim, Outcome outcome, int& allocations) {
  require(outcome.tensor || outcome.refused || outcome.out_of_memory, "it is taken or refused");
  require(!outcome.out_of_memory || made.allocations >= 0, "memory only lacks where it was taken");
  if (outcome.refused) require(claim.has_fault(*outcome.refused), "the code is that of a fault");
  if (outcome.tensor) {
    require(!claim.is_faulty(), "a faulty struct is refused");
    require(made.deleted == 0, "the memory lives while there is a view");
    check_tensor(claim, made, *outcome.tensor);
    check_exports(*outcome.tensor, allocations);
    require(made.deleted == 0, "exports do not end the view");
    outcome.tensor.reset();
  }
  const bool owned = made.form != Form::borrowed && made.deletes;
  require(made.deleted == (owned ? 1 : 0), "the deleter runs once");
}

}  // namespace
}  // namespace weft::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace weft::fuzz;
  Input input({data, size});
  Produced made = produced(input);
  const bool foreign = made.form == Form::versioned && made.major != weft::dlpack::kMajorVersion;
  const Claim claim(made.view, foreign);
  int allocations = made.allocations;
  if (made.form == Form::borrowed) {
    check(made, claim, outcome_of(allocations, [&] { return weft::dlpack::borrow(made.view); }),
          allocations);
  } else if (made.form == Form::legacy) {
    Managed* managed = managed_of<Managed>(made);
    check(made, claim, outcome_of(allocations, [&] { return weft::dlpack::from_dlpack(managed); }),
          allocations);
    std::free(managed);
  } else {
    ManagedVersioned* managed = managed_of<ManagedVersioned>(made);
    check(made, claim, outcome_of(allocations, [&] { return weft::dlpack::from_dlpack(managed); }),
          allocations);
    std::free(managed);
  }
  return 0;
}
