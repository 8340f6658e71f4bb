// DLPack: every way a struct can be wrong is refused with its deleter called once, and what is
// exported outlives everything it came from.
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "core/tensor/dlpack.h"
#include "tests/core/expect_error.h"

using weft::DType;
using weft::ErrorCode;
using weft::Layout;
using weft::Tensor;
namespace dlpack = weft::dlpack;
using Numbers = std::vector<std::int64_t>;

namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();

// A producer of structs that counts how often it is told to delete.
template <class Struct>
struct Producer {
  std::array<float, 24> memory{};
  Numbers shape{2, 3};
  Numbers strides{3, 1};
  int deletes = 0;
  Struct managed{};

  Producer() {
    managed.view = {memory.data(), dlpack::kCpu,   0, 2, {dlpack::kFloat, 32, 1},
                    shape.data(),  strides.data(), 0};
    managed.context = &deletes;
    managed.deleter = [](Struct* self) { ++*static_cast<int*>(self->context); };
    if constexpr (std::is_same_v<Struct, dlpack::ManagedVersioned>) managed.major = 1;
  }
};
using Versioned = Producer<dlpack::ManagedVersioned>;
using Legacy = Producer<dlpack::Managed>;

// Expects that the struct, spoiled, is refused with that error and deleted once.
template <class Spoil>
void expect_refused(ErrorCode code, Spoil&& spoil) {
  Versioned versioned;
  spoil(versioned.managed.view);
  expect_error(code, [&] { dlpack::from_dlpack(&versioned.managed); });
  CHECK(versioned.deletes == 1);
  Legacy legacy;
  spoil(legacy.managed.view);
  expect_error(code, [&] { dlpack::from_dlpack(&legacy.managed); });
  CHECK(legacy.deletes == 1);
}

Tensor small_tensor(const char* device = "cpu") {
  return Tensor::empty(Numbers{2, 3}, DType::f32, weft::DeviceId::parse(device));
}

}  // namespace

TEST_CASE("an import views the producer's memory and deletes once, with the last view") {
  Versioned producer;
  {
    const Tensor tensor = dlpack::from_dlpack(&producer.managed);
    CHECK(tensor.data() == producer.memory.data());
    CHECK(tensor.layout().str() == "(2, 3)");
    CHECK(tensor.dtype() == DType::f32);
    CHECK_FALSE(tensor.read_only());
    const Tensor view(tensor.storage(), DType::f32, Layout::contiguous(Numbers{2}), 1);
    CHECK(producer.deletes == 0);
  }
  CHECK(producer.deletes == 1);
}

TEST_CASE("a legacy struct, null strides, a byte offset and a null deleter are accepted") {
  Legacy producer;
  producer.managed.view.strides = nullptr;
  producer.managed.view.byte_offset = 8;
  CHECK(dlpack::from_dlpack(&producer.managed).data() == producer.memory.data() + 2);
  CHECK(producer.deletes == 1);
  producer.managed.deleter = nullptr;
  CHECK(dlpack::from_dlpack(&producer.managed).layout().is_contiguous());
  CHECK(producer.deletes == 1);
}

TEST_CASE("negative strides keep the first element where it is") {
  Versioned producer;
  producer.strides = {-3, 1};
  producer.managed.view.byte_offset = 12;
  const Tensor tensor = dlpack::from_dlpack(&producer.managed);
  CHECK(tensor.data() == producer.memory.data() + 3);
  CHECK(tensor.touched().data() == reinterpret_cast<std::byte*>(producer.memory.data()));
  CHECK(tensor.storage()->bytes() == weft::Bytes(24));
}

TEST_CASE("the read-only flag is kept, and legacy export of such a tensor is refused") {
  Versioned producer;
  producer.managed.flags = dlpack::kReadOnlyFlag;
  const Tensor tensor = dlpack::from_dlpack(&producer.managed);
  CHECK(tensor.read_only());
  expect_error(ErrorCode::read_only_buffer, [&] { dlpack::to_dlpack(tensor); });
  dlpack::ManagedVersioned* exported = dlpack::to_dlpack_versioned(tensor);
  CHECK(exported->flags == dlpack::kReadOnlyFlag);
  CHECK(dlpack::from_dlpack(exported).read_only());
}

TEST_CASE("a foreign major version is refused and its deleter called") {
  for (std::uint32_t major : {0u, 2u, 4294967295u}) {
    Versioned producer;
    producer.managed.major = major;
    producer.managed.view.shape = reinterpret_cast<std::int64_t*>(1);  // must not be read
    expect_error(ErrorCode::invalid_argument, [&] { dlpack::from_dlpack(&producer.managed); });
    CHECK(producer.deletes == 1);
  }
  Versioned minor;
  minor.managed.minor = 99;
  CHECK(dlpack::from_dlpack(&minor.managed).defined());
}

TEST_CASE("a null struct is refused") {
  expect_error(ErrorCode::invalid_argument,
               [] { dlpack::from_dlpack(static_cast<dlpack::ManagedVersioned*>(nullptr)); });
  expect_error(ErrorCode::invalid_argument,
               [] { dlpack::from_dlpack(static_cast<dlpack::Managed*>(nullptr)); });
}

TEST_CASE("shapes, strides and spans that cannot be are refused") {
  using View = dlpack::View;
  const ErrorCode bad = ErrorCode::invalid_argument;
  const ErrorCode big = ErrorCode::size_overflow;
  expect_refused(bad, [](View& view) { view.ndim = -1; });
  expect_refused(bad, [](View& view) { view.ndim = 65; });
  expect_refused(bad, [](View& view) { view.ndim = std::numeric_limits<std::int32_t>::min(); });
  expect_refused(bad, [](View& view) { view.shape = nullptr; });
  expect_refused(bad, [](View& view) { view.shape[1] = -3; });
  expect_refused(bad, [](View& view) { view.data = nullptr; });
  expect_refused(bad, [](View& view) { view.byte_offset = 2; });
  expect_refused(big, [](View& view) { view.shape[0] = kMax; });
  expect_refused(big, [](View& view) { view.strides[0] = kMin; });
  expect_refused(big, [](View& view) { view.strides[0] = kMax; });
  expect_refused(big, [](View& view) { view.strides[0] = kMax / 4 + 1; });
  expect_refused(big, [](View& view) { view.strides[0] = -(kMax / 8); });
  expect_refused(big, [](View& view) { view.byte_offset = ~std::uint64_t{0} - 3; });
}

TEST_CASE("memory that would begin at the null address is refused") {
  expect_refused(ErrorCode::size_overflow, [](dlpack::View& view) {
    view.data = reinterpret_cast<void*>(16);
    view.strides[0] = -2;
    view.strides[1] = -1;
  });
}

TEST_CASE("devices that are not there are refused") {
  using View = dlpack::View;
  const ErrorCode bad = ErrorCode::invalid_argument;
  for (std::int32_t type : {0, -1, 4, 7, 8, 10, 13, 999}) {
    expect_refused(bad, [=](View& view) { view.device_type = type; });
  }
  expect_refused(bad, [](View& view) { view.device_id = -1; });
  expect_refused(bad, [](View& view) {
    view.device_type = dlpack::kCuda;
    view.device_id = weft::device_count(weft::DeviceKind::cuda);
  });
}

TEST_CASE("element types that weft has not are refused") {
  const auto refused = [](std::uint8_t code, std::uint8_t bits, std::uint16_t lanes) {
    expect_refused(ErrorCode::dtype_mismatch,
                   [=](dlpack::View& view) { view.dtype = {code, bits, lanes}; });
  };
  refused(dlpack::kFloat, 32, 2);
  refused(dlpack::kFloat, 32, 0);
  refused(dlpack::kFloat, 33, 1);
  refused(dlpack::kFloat, 8, 1);
  refused(dlpack::kInt, 4, 1);
  refused(dlpack::kUInt, 32, 1);
  refused(dlpack::kComplex, 64, 1);
  refused(dlpack::kOpaque, 32, 1);
  refused(dlpack::kBfloat, 32, 1);
  refused(dlpack::kBool, 1, 1);
  refused(11, 8, 1);  // float8_e4m3fnuz
  refused(13, 8, 1);  // float8_e5m2fnuz
  refused(dlpack::kFloat8E4m3fn, 16, 1);
  refused(255, 8, 1);
}

TEST_CASE("empty tensors are accepted with and without data") {
  for (bool null : {false, true}) {
    Versioned producer;
    producer.shape[0] = 0;
    if (null) producer.managed.view.data = nullptr;
    producer.managed.view.byte_offset = ~std::uint64_t{0};  // of nothing: never used
    const Tensor tensor = dlpack::from_dlpack(&producer.managed);
    CHECK(tensor.layout().elements() == 0);
    CHECK(tensor.touched().empty());
  }
}

TEST_CASE("an export is read back as the same view, for every dtype and device") {
  for (int i = 0; i < weft::kDTypeCount; ++i) {
    for (const char* device : {"cpu", "sim:5"}) {
      const Tensor base =
          Tensor::empty(Numbers{4, 6}, static_cast<DType>(i), weft::DeviceId::parse(device));
      const Tensor view(base.storage(), base.dtype(),
                        Layout::strided(Numbers{3, 2}, Numbers{-6, 2}), 19);
      dlpack::ManagedVersioned* managed = dlpack::to_dlpack_versioned(view, true);
      CHECK(managed->view.device_type == dlpack::kCpu);
      CHECK(managed->flags == dlpack::kCopiedFlag);
      for (const Tensor& back :
           {dlpack::from_dlpack(managed), dlpack::from_dlpack(dlpack::to_dlpack(view))}) {
        CHECK(back.data() == view.data());
        CHECK(back.dtype() == view.dtype());
        CHECK(back.layout().same_sizes(view.layout()));
        CHECK(std::ranges::equal(back.layout().strides(), view.layout().strides()));
        CHECK(back.device().str() == "cpu");
      }
    }
  }
  const Tensor scalar = Tensor::empty({}, DType::f64, {});
  dlpack::ManagedVersioned* managed = dlpack::to_dlpack_versioned(scalar);
  CHECK(managed->view.ndim == 0);
  CHECK(managed->view.shape != nullptr);
  managed->deleter(managed);
}

TEST_CASE("floats of 8 bits have the codes of DLPack 1.1") {
  for (const auto& [dtype, code] : {std::pair(DType::f8_e4m3fn, 10), {DType::f8_e5m2, 12}}) {
    dlpack::ManagedVersioned* managed =
        dlpack::to_dlpack_versioned(Tensor::empty(Numbers{3}, dtype, {}));
    CHECK(managed->view.dtype.code == code);
    CHECK(managed->view.dtype.bits == 8);
    CHECK(managed->view.dtype.lanes == 1);
    CHECK(managed->minor >= 1);
    managed->deleter(managed);
  }
}

TEST_CASE("an export keeps the memory alive, and its deleter runs on any thread") {
  Versioned producer;
  dlpack::ManagedVersioned* exported = nullptr;
  {
    const Tensor tensor = dlpack::from_dlpack(&producer.managed);
    exported = dlpack::to_dlpack_versioned(tensor);
  }
  CHECK(producer.deletes == 0);
  CHECK(exported->view.data == producer.memory.data());
  std::thread([&] { exported->deleter(exported); }).join();
  CHECK(producer.deletes == 1);
}

TEST_CASE("an export drops the history of its tensor") {
  static int drops = 0;
  Tensor tensor = small_tensor();
  tensor.autograd() = std::make_shared<weft::AutogradSlot>();
  tensor.autograd()->drop = [](void*) noexcept { ++drops; };
  dlpack::Managed* exported = dlpack::to_dlpack(tensor);
  tensor = Tensor();
  CHECK(drops == 1);
  exported->deleter(exported);
}

TEST_CASE("random structs are taken or refused, and always deleted once") {
  std::mt19937_64 random(13);
  const std::array<std::int64_t, 10> wild{0, 1, 2, 3, -1, 7, kMax, kMin, kMax / 4, 1LL << 40};
  int taken = 0;
  for (int round = 0; round < 20000; ++round) {
    Versioned producer;
    const auto pick = [&](auto low, auto high) {
      return std::uniform_int_distribution<std::int64_t>(low, high)(random);
    };
    producer.shape.assign(64, 1);
    producer.strides.assign(64, 1);
    for (int d = 0; d < 3; ++d) {
      producer.shape[d] = pick(0, 9) ? pick(0, 3) : wild[pick(0, 9)];
      producer.strides[d] = pick(0, 5) ? pick(-4, 4) : wild[pick(0, 9)];
    }
    dlpack::View& view = producer.managed.view;
    view.shape = pick(0, 30) ? producer.shape.data() : nullptr;
    view.strides = pick(0, 3) ? producer.strides.data() : nullptr;
    view.ndim = static_cast<std::int32_t>(pick(0, 20) ? pick(0, 3) : pick(-2, 66));
    view.byte_offset = static_cast<std::uint64_t>(pick(0, 9) ? 4 * pick(0, 4) : wild[pick(0, 9)]);
    if (!pick(0, 19)) view.data = nullptr;
    if (!pick(0, 9)) view.dtype = {static_cast<std::uint8_t>(pick(0, 8)), 32, 1};
    try {
      const Tensor tensor = dlpack::from_dlpack(&producer.managed);
      CHECK(producer.deletes == 0);
      CHECK(tensor.layout().elements() >= 0);
      CHECK(tensor.touched().size() <= static_cast<std::size_t>(kMax));
      ++taken;
    } catch (const weft::Error&) {
    }
    REQUIRE(producer.deletes == 1);
  }
  CHECK(taken > 2000);
  CHECK(taken < 18000);
}
