// Streams, events and memory of a measurement, and one sample of a trial.
//
// Invariants
//   1. Transfers of a sample that run on the same device have a stream each; the first of them is
//      behind the gate, the others behind the first's start.
//   2. A sample ends with all its streams idle, or with an exception and the bench good for nothing
//      but destruction. That waits for what still runs: works end by their own deadlines.
//
// Thread safety: none.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/device/device.h"
#include "topology/probe/plan.h"
#include "topology/probe/works.h"

namespace weft::topology {

class Bench {
 public:
  Bench(std::span<Device* const> devices, const Plan& plan, std::int64_t wait_ns);
  ~Bench();
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  // Seconds of each transfer of the trial, all its repeats together. Throws CollectiveTimeout, and
  // what the devices throw.
  std::vector<double> sample(const Trial& trial);

 private:
  struct Lane {
    Stream stream{};
    Event end{};
  };
  struct Station {
    Device* device = nullptr;
    std::byte* source = nullptr;
    std::byte* target = nullptr;
    std::uint32_t* flag = nullptr;  // a peer throws here
    Event start{};
    std::vector<Lane> lanes;
    std::size_t used = 0;  // lanes, by the sample under way
  };
  struct Placed {
    Station* station;
    Lane* lane;
  };

  void open(const Plan& plan);
  void open_peers();
  void release() noexcept;
  Station& runner(const Trial& trial, const Transfer& transfer);
  Placed place(Station& station);
  void enqueue(const Placed& at, const Trial& trial, const Transfer& transfer);
  std::vector<double> time(const Trial& trial);
  std::vector<double> flags(const Trial& trial);
  FlagParams throws_flags(const Trial& trial, const Transfer& transfer, bool serves) const;
  void wait(const Placed& at);
  void check_gate() const;
  std::byte* address(int end, bool is_source) const;

  std::vector<Station> stations_;
  std::int64_t wait_ns_;
  std::int64_t slice_ = 0;            // bytes that each sender has in a target, of all_pairs
  std::byte* host_source_ = nullptr;  // pinned
  std::byte* host_target_ = nullptr;
  Gate* gate_ = nullptr;
  GateReport* gate_report_ = nullptr;
  FlagReport* flag_reports_ = nullptr;  // one a device
  std::uint32_t base_ = 0;              // last value of the flags
};

}  // namespace weft::topology
