// See verify.h.
#include "topology/probe/verify.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "topology/probe/works.h"

namespace weft::topology {
namespace {

constexpr std::uint32_t kWords = 16 * 1024;
constexpr std::int64_t kBytes = kWords * 4;
constexpr std::uint8_t kPoison = 0xa5;
constexpr Way kWays[] = {Way::store, Way::load, Way::copy_engine};

// One device's part: a stream, device memory to send from and to receive in, and the host's copy.
class Party {
 public:
  explicit Party(Device& device) : device_(device) {
    try {
      stream_ = device.create_stream(StreamPriority::normal);
      event_ = device.create_event();
      source = static_cast<std::byte*>(device.allocate(Bytes(kBytes)));
      inbox = static_cast<std::byte*>(device.allocate(Bytes(kBytes)));
      host = static_cast<std::uint32_t*>(device.allocate_pinned(Bytes(kBytes)));
      probe_works(device.id().kind).preload(device);
    } catch (...) {
      release();
      throw;
    }
  }
  ~Party() { release(); }
  Party(const Party&) = delete;
  Party& operator=(const Party&) = delete;

  Device& device() const { return device_; }
  Stream stream() const { return stream_; }

  void finish(const char* what, std::int64_t ns) {
    device_.record(event_, stream_);
    if (device_.synchronize(event_, Deadline::after_ns(ns))) return;
    fail(ErrorCode::collective_timeout, what, " on ", device_.id().str(), " did not end in time");
  }

  std::byte* source = nullptr;
  std::byte* inbox = nullptr;
  std::uint32_t* host = nullptr;

 private:
  void release() noexcept {
    device_.destroy_stream(stream_);
    device_.destroy_event(event_);
    device_.deallocate(source);
    device_.deallocate(inbox);
    device_.deallocate_pinned(host);
  }

  Device& device_;
  Stream stream_{};
  Event event_{};
};

// Of one ordered pair and way: `from` runs it, and the memory of `to` is one end.
class Trial {
 public:
  Trial(Party& from, Party& to, int from_index, int to_index, Way way, std::int64_t wait_ns)
      : runner_(from),
        // Bytes are loaded out of the peer's memory, and stored in it.
        sender_(way == Way::load ? to : from),
        receiver_(way == Way::load ? from : to),
        from_(from_index),
        to_(to_index),
        way_(way),
        wait_ns_(wait_ns) {}

  // Empty if all bytes arrived, else what was found.
  std::string run() {
    prepare();
    move();
    return compare();
  }

 private:
  void prepare() {
    for (std::uint32_t i = 0; i < kWords; ++i) sender_.host[i] = pattern_word(from_, to_, way_, i);
    sender_.device().copy(sender_.stream(), sender_.source, sender_.host, Bytes(kBytes));
    receiver_.device().fill(receiver_.stream(), receiver_.inbox, kPoison, Bytes(kBytes));
    sender_.finish("a copy from the host", wait_ns_);
    receiver_.finish("a fill", wait_ns_);
  }

  void move() {
    Device& device = runner_.device();
    if (way_ == Way::copy_engine) {
      device.copy(runner_.stream(), receiver_.inbox, sender_.source, Bytes(kBytes));
    } else {
      const CopyParams params{receiver_.inbox, sender_.source, kBytes, 1};
      device.submit(runner_.stream(),
                    Work::make("verify", probe_works(device.id().kind).copy, params));
    }
    runner_.finish(way_name(way_), wait_ns_);
  }

  std::string compare() {
    receiver_.device().copy(receiver_.stream(), receiver_.host, receiver_.inbox, Bytes(kBytes));
    receiver_.finish("a copy to the host", wait_ns_);
    std::uint32_t wrong = 0;
    std::uint32_t first = 0;
    for (std::uint32_t i = kWords; i-- > 0;) {
      if (receiver_.host[i] == pattern_word(from_, to_, way_, i)) continue;
      ++wrong;
      first = i;
    }
    if (wrong == 0) return {};
    return concat(way_name(way_), ": ", 4 * static_cast<std::int64_t>(wrong), " of ", kBytes,
                  " bytes did not arrive as they were sent, the first at ", 4 * first);
  }

  Party& runner_;
  Party& sender_;
  Party& receiver_;
  int from_;
  int to_;
  Way way_;
  std::int64_t wait_ns_;
};

PairCheck check_pair(Party& from, Party& to, int from_index, int to_index, std::int64_t wait_ns) {
  try {
    if (!from.device().can_access(to.device().id())) {
      return {std::nullopt, "the driver gives no peer access"};
    }
    from.device().enable_peer(to.device().id());
    for (const Way way : kWays) {
      const std::string found = Trial(from, to, from_index, to_index, way, wait_ns).run();
      if (!found.empty()) return {false, found};
    }
    return {true, {}};
  } catch (const std::exception& error) {
    return {false, error.what()};
  }
}

}  // namespace

const char* way_name(Way way) {
  constexpr const char* kNames[] = {"kernel store", "kernel load", "copy engine"};
  return kNames[static_cast<std::size_t>(way)];
}

std::uint32_t pattern_word(int from, int to, Way way, std::uint32_t index) {
  const auto salt = static_cast<std::uint32_t>((from * 64 + to) * 4 + static_cast<int>(way) + 1);
  std::uint32_t word = index * 2654435761U ^ salt * 2246822519U;
  word = (word ^ word >> 15) * 3266489917U;
  return word ^ word >> 13;
}

std::vector<PairCheck> verify_pairs(std::span<Device* const> devices, double seconds_each_wait) {
  const int n = static_cast<int>(devices.size());
  const std::int64_t wait_ns = seconds_to_ns(seconds_each_wait);
  std::vector<std::unique_ptr<Party>> parties(devices.size());
  std::vector<std::string> problems(devices.size());
  for (std::size_t i = 0; i < devices.size() && n > 1; ++i) {
    try {
      parties[i] = std::make_unique<Party>(*devices[i]);
    } catch (const std::exception& error) {
      problems[i] = error.what();
    }
  }
  std::vector<PairCheck> checks;
  for (int from = 0; from < n; ++from) {
    for (int to = 0; to < n; ++to) {
      const auto a = static_cast<std::size_t>(from);
      const auto b = static_cast<std::size_t>(to);
      if (from == to) {
        checks.push_back({true, {}});
      } else if (!parties[a] || !parties[b]) {
        checks.push_back({std::nullopt, concat("not tried: ", problems[parties[a] ? b : a])});
      } else {
        checks.push_back(check_pair(*parties[a], *parties[b], from, to, wait_ns));
      }
    }
  }
  return checks;
}

}  // namespace weft::topology
