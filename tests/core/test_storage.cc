// Storage: memory comes from the device, goes back once, and lives as long as any view.
#include <doctest/doctest.h>

#include <array>
#include <limits>
#include <memory>
#include <optional>
#include <thread>

#include "core/memory/storage.h"
#include "core/tensor/tensor.h"
#include "tests/core/expect_error.h"

using weft::Bytes;
using weft::DeviceId;
using weft::ErrorCode;
using weft::Storage;

// AddressSanitizer would end the process at an allocation that no machine can serve; here that must
// be a named error. Weak, so that main() may say more.
extern "C" __attribute__((weak)) const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}

namespace {

void count_drop(void* context) noexcept { ++*static_cast<int*>(context); }

}  // namespace

TEST_CASE("adopted memory is dropped once, by the last view") {
  std::array<float, 8> memory{};
  int drops = 0;
  {
    auto storage = Storage::adopt({}, memory.data(), Bytes(32), true, count_drop, &drops);
    CHECK(storage->data() == memory.data());
    CHECK(storage->read_only());
    std::optional<weft::Tensor> view(std::in_place, storage, weft::DType::f32,
                                     weft::Layout::contiguous(std::array<std::int64_t, 1>{8}));
    const weft::Tensor copy = *view;
    storage.reset();
    view.reset();
    CHECK(drops == 0);
    CHECK(copy.data() == memory.data());
  }
  CHECK(drops == 1);
}

TEST_CASE("adopting owns from the first instruction, and borrowing drops nothing") {
  int drops = 0;
  expect_error(ErrorCode::size_overflow,
               [&] { Storage::adopt({}, nullptr, Bytes(-1), false, count_drop, &drops); });
  CHECK(drops == 1);
  Storage::adopt({}, &drops, Bytes(4), false, nullptr, nullptr);
  CHECK(drops == 1);
}

TEST_CASE("host and simulated devices allocate aligned memory") {
  for (const char* name : {"cpu", "sim:0", "sim:63"}) {
    CAPTURE(name);
    auto storage = Storage::allocate(DeviceId::parse(name), Bytes(1000));
    REQUIRE(storage->data() != nullptr);
    CHECK(reinterpret_cast<std::uintptr_t>(storage->data()) % 256 == 0);
    CHECK(storage->device().str() == name);
    CHECK_FALSE(storage->read_only());
    static_cast<char*>(storage->data())[999] = 1;
    CHECK(Storage::allocate(DeviceId::parse(name), Bytes(0))->data() == nullptr);
  }
}

TEST_CASE("a storage that cannot be is refused") {
  expect_error(ErrorCode::size_overflow, [] { Storage::allocate({}, Bytes(-1)); });
  expect_error(ErrorCode::out_of_memory,
               [] { Storage::allocate({}, Bytes(std::numeric_limits<std::int64_t>::max())); });
  expect_error(ErrorCode::invalid_argument,
               [] { Storage::allocate(DeviceId::parse("sim:64"), Bytes(1)); });
}

TEST_CASE("the version is shared by all views and counts from any thread") {
  auto storage = Storage::allocate({}, Bytes(16));
  std::thread other([&] {
    for (int i = 0; i < 1000; ++i) storage->bump_version();
  });
  for (int i = 0; i < 1000; ++i) storage->bump_version();
  other.join();
  CHECK(storage->version() == 2000);
}
