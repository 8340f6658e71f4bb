// What the flagged kernels promise, checked: every dtype, op and length, any alignment, in place,
// sizes and grids that change from call to call, epochs that wrap, ranks that stay away.
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>

#include "bench/cuda/flagged_checker.h"
#include "collectives/executor/cuda/lamport.h"
#include "collectives/executor/cuda/scratch.h"
#include "core/device/cuda/cuda_api.h"

namespace weft::bench {
namespace {

namespace cuda = collectives::cuda;
using collectives::FaultPoint;
using collectives::ReduceOp;

constexpr ReduceOp kOps[] = {ReduceOp::sum, ReduceOp::avg, ReduceOp::min, ReduceOp::max,
                             ReduceOp::prod};

int report(const char* what, Checker& checker) {
  std::printf("%-8s %-40s ranks=%d devices=%d calls=%d failures=%d\n",
              checker.failures() == 0 ? "ok" : "FAILED", what, checker.rig().options().ranks,
              checker.rig().options().devices, checker.calls(), checker.failures());
  std::fflush(stdout);
  return checker.failures();
}

RigOptions options(int ranks, int devices, std::size_t bytes) {
  RigOptions o;
  o.ranks = ranks;
  o.devices = devices;
  o.bytes = bytes;
  return o;
}

int check_lengths(int ranks, int devices) {
  Checker checker(options(ranks, devices, 1 << 16));
  for (const Family family : kFamilies) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::u8}) {
      for (std::int64_t n = 1; n <= 70; ++n) {
        checker.run({.family = family, .dtype = dtype, .elements = n});
        checker.run(
            {.family = family, .dtype = dtype, .elements = n, .in_offset = 1, .out_offset = 3});
        checker.run({.family = family,
                     .dtype = dtype,
                     .elements = n,
                     .out_offset = n % 3,
                     .in_place = true,
                     .blocks = 1 + static_cast<std::int32_t>(n % 5)});
      }
    }
  }
  return report("lengths 1..70, misaligned, in place", checker);
}

int check_types(int ranks, int devices) {
  Checker checker(options(ranks, devices, 1 << 17));
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    if (dtype == DType::u8 || dtype == DType::bool_) continue;  // below
    for (const ReduceOp op : kOps) {
      if (op == ReduceOp::avg && !is_floating(dtype)) continue;
      for (const Family family : kFamilies) {
        for (const std::int64_t n : {5, 257, 8191}) {
          checker.run({.family = family, .dtype = dtype, .op = op, .elements = n});
          checker.run({.family = family,
                       .dtype = dtype,
                       .op = op,
                       .elements = n,
                       .in_offset = 1,
                       .out_offset = 1,
                       .in_place = true});
        }
      }
    }
  }
  for (const ReduceOp op : kOps) {
    if (op != ReduceOp::avg) checker.run({.dtype = DType::u8, .op = op, .elements = 8191});
  }
  checker.make_bools();
  for (const ReduceOp op : kOps) {
    if (op != ReduceOp::avg) checker.run({.dtype = DType::bool_, .op = op, .elements = 8191});
  }
  return report("every dtype and op", checker);
}

int check_big(int ranks, int devices) {
  Checker checker(options(ranks, devices, 17 << 20));
  for (const Family family : {Family::ll, Family::lamport, Family::two_shot, Family::ring}) {
    if (family == Family::ring && ranks > 2) continue;  // it adds in another order
    for (const std::int64_t n :
         {12'345, 65'537, 130'999, 300'001, 1'000'003, 2'097'152, 4'194'304}) {
      for (const std::int32_t blocks : {0, 7}) {
        checker.run({.family = family, .elements = n, .blocks = blocks});
        checker.run({.family = family, .elements = n, .in_place = true, .blocks = blocks});
        checker.run(
            {.family = family, .elements = n, .in_offset = 3, .out_offset = 1, .blocks = blocks});
      }
    }
  }
  return report("big, odd, misaligned, in place", checker);
}

// Sizes, families (the ring among them) and grids change with every call; many calls in flight.
int check_changes(int ranks, int devices, int batches, std::uint32_t first_epoch) {
  RigOptions o = options(ranks, devices, 8 << 20);
  o.first_epoch = first_epoch;
  Checker checker(o);
  std::mt19937 random(7);
  for (int batch = 0; batch < batches && checker.failures() == 0; ++batch) {
    std::vector<Call> calls;
    std::int64_t out = 0;
    for (int i = 0; i < 50; ++i) {
      Call call;
      // The ring adds in another order where there are more ranks.
      call.family = static_cast<Family>(random() % (ranks == 2 ? 4 : 3));
      call.elements = 1 + random() % (random() % 8 == 0 ? 20'000 : 600);
      call.in_offset = random() % 64;
      call.blocks = 1 + static_cast<std::int32_t>(random() % 16);
      call.out_offset = out + random() % 4;
      out = call.out_offset + call.elements;
      if (checker.rig().serves(call)) calls.push_back(call);
    }
    checker.run_all(calls);
  }
  return report(first_epoch == 0 ? "size, family, grid change every call" : "epochs wrap at 2^32",
                checker);
}

// Every pattern of 16 bits, against some of another rank.
int check_patterns(int devices) {
  Checker checker(options(2, devices, 1 << 18));
  for (const std::uint16_t other : {0x0000, 0x8000, 0x3f80, 0x7f80, 0xffff, 0x7fc1, 0x0001}) {
    for (std::size_t i = 0; i < 1 << 16; ++i) {
      const auto pattern = static_cast<std::uint16_t>(i);
      std::memcpy(&checker.inputs(0)[2 * i], &pattern, 2);
      std::memcpy(&checker.inputs(1)[2 * i], &other, 2);
    }
    checker.upload();
    for (const Family family : kFamilies) {
      for (const DType dtype : {DType::bf16, DType::f16}) {
        for (const ReduceOp op : {ReduceOp::sum, ReduceOp::max}) {
          checker.run({.family = family, .dtype = dtype, .op = op, .elements = 1 << 16});
        }
      }
    }
  }
  return report("all 2^16 patterns of bf16 and f16", checker);
}

// Lines are cleared round robin: after as many operations as there are lines only the last few
// carry flags. And Lamport regions are all ones again.
int check_regions() {
  RigOptions o = options(2, 1, 1 << 16);
  o.scratch = cuda::kLeastFlagged;
  Checker checker(o);
  const fabric::Arena& arena = checker.rig().fabric().arena(Rank(0));
  const cuda::Region ll = cuda::ll_region(arena.layout);
  const cuda::Region lamport = cuda::lamport_region(arena.layout);
  const std::int64_t lines = cuda::lines_of_source(arena.layout, ll);
  checker.run({.dtype = DType::u8, .elements = cuda::ll_capacity(arena.layout)});
  for (std::int64_t i = 0; i < 2 * lines + 2; ++i) {
    checker.run({.dtype = DType::u8, .elements = 1});
    checker.run({.family = Family::lamport, .elements = 1 + i});
    checker.run({.family = Family::two_shot, .elements = 1 + i});
  }
  Checker::Buffer bytes(static_cast<std::size_t>(o.scratch));
  check_cuda(cudaMemcpy(bytes.data(), arena.scratch(), bytes.size(), cudaMemcpyDefault), "copy");
  int flagged = 0;
  for (std::int64_t i = ll.offset; i < ll.end(); i += 16) {
    std::uint32_t words[4];
    std::memcpy(words, &bytes[static_cast<std::size_t>(i)], 16);
    if (words[1] != 0 || words[3] != 0) ++flagged;
  }
  if (flagged > 2) checker.fail_call({}, concat(flagged, " lines still carry flags").c_str());
  for (std::int64_t i = lamport.offset; i < lamport.end(); ++i) {
    if (bytes[static_cast<std::size_t>(i)] == 0xff) continue;
    checker.fail_call({.family = Family::lamport}, concat("byte ", i, " is not ones").c_str());
    break;
  }
  return report("lines are cleared, words reset", checker);
}

// A rank that is never launched, or stops: an error in time that blames it, the flag up; recover()
// mends it.
int check_faults(int ranks, int devices) {
  RigOptions o = options(ranks, devices, 1 << 20);
  o.timeout = 0.3;
  Checker checker(o);
  fabric::Fabric& fabric = checker.rig().fabric();
  for (const Family family : kFamilies) {
    for (int kind = 0; kind < 3; ++kind) {
      Call call{.family = family, .elements = 20'000};
      if (kind == 0) call.absent = ranks - 1;
      if (kind > 0) call.fault = {FaultPoint::Action::stop, ranks - 1, kind - 1, 0};
      if (kind == 2 && family != Family::two_shot) continue;
      const std::int64_t start = now_ns();
      const auto error = checker.rig().run(call);
      const double seconds = 1e-9 * static_cast<double>(now_ns() - start);
      std::printf("         %s kind %d after %.2f s: %s\n", name(family), kind, seconds,
                  error ? error->what() : "no error");
      if (!error || error->code() != ErrorCode::collective_timeout || seconds > 1.5 ||
          error->context().culprits != std::vector<int>{ranks - 1}) {
        checker.fail_call(call, "not the error it should be");
      }
      if (*fabric.abort_flag() == 0) checker.fail_call(call, "no abort flag");
      fabric.recover();
      for (const Family after : kFamilies) checker.run({.family = after, .elements = 9999});
      Call late{.family = family, .elements = 5000};
      late.fault = {FaultPoint::Action::delay, ranks - 1, 0, 20'000'000};
      checker.run(late);
    }
  }
  return report("a rank stays away, stops, is late", checker);
}

}  // namespace

int check_flagged(int devices) {
  int failures = 0;
  for (const int ranks : {2, 3, 4, 5, 8}) {
    failures += check_lengths(ranks, 1);
    failures += check_types(ranks, 1);
    failures += check_big(ranks, 1);
  }
  if (failures > 0) return failures;
  failures += check_regions();
  failures += check_changes(3, 1, 60, 0);
  failures += check_changes(4, 1, 10, 0xffffffc0U);
  failures += check_patterns(1);
  failures += check_faults(3, 1);
  if (devices < 2) return failures;
  failures += check_lengths(2, 2);
  failures += check_types(2, 2);
  failures += check_big(2, 2);
  failures += check_big(4, 2);
  failures += check_changes(2, 2, 400, 0);
  failures += check_changes(2, 2, 20, 0xffffffc0U);
  failures += check_patterns(2);
  failures += check_faults(2, 2);
  return failures;
}

}  // namespace weft::bench
