// What every collective shares before it becomes a plan: the checks, staging, and the launch.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "collectives/collectives.h"
#include "collectives/schedule/predict.h"
#include "collectives/tuner.h"

namespace weft::collectives {

// How the shape of a rank's output follows from that of its input.
enum class Shapes : std::uint8_t {
  same,
  joined,    // dimension 0 is n times as long
  split,     // an n-th as long
  exchanged  // the same, and n divides dimension 0; or as `splits` say
};
// Which ranks have an input, or an output.
enum class Holders : std::uint8_t { all, root, partners };

// What is particular to a collective: a table in kinds.cc.
struct Kind {
  const char* name = "";
  EventKind event = EventKind::all_reduce;
  Shapes shapes = Shapes::same;
  Holders inputs = Holders::all;
  Holders outputs = Holders::all;
  bool reduces = false;   // takes an op
  bool rooted = false;    // takes a root
  bool in_place = false;  // an output may be its rank's input exactly
  // The schedule of an algorithm, or nothing if the collective has no such algorithm.
  std::optional<schedule::Schedule> (*schedule)(Algorithm algorithm, WorldSize world,
                                                const Call& call) = nullptr;
};
const Kind& kind_of(Collective collective);

struct Request {
  Call call{};
  std::span<const Tensor> inputs;   // one a rank
  std::span<const Tensor> outputs;  // one a rank; outputs[i] may be inputs[i] exactly
  // A bucket's tensors are more; what looks at a rank's tensor is not for them.
  std::shared_ptr<Bucket> bucket{};

  const Kind& kind() const { return kind_of(call.collective); }
  const char* name() const { return kind().name; }
  bool has_input(std::size_t rank) const;
  bool has_output(std::size_t rank) const;
  // The first rank that has an input, and the tensors that every other one is compared with.
  int first_rank() const;
  const Tensor& first_input() const { return inputs[static_cast<std::size_t>(first_rank())]; }
  const Tensor& first_output() const;
  bool in_place() const;
  DType dtype() const { return bucket ? bucket->dtype() : first_input().dtype(); }
  std::int64_t input_elements() const;
  std::int64_t output_elements() const;
};

// Everything that can be wrong with the arguments. Throws; changes nothing.
void validate(const fabric::Fabric& fabric, const Request& request, const CallOptions& options);
// The same in two parts: a bucket's tensors, once, and what a call adds to them.
void validate_bucket(const fabric::Fabric& fabric, std::span<const Tensor> inputs,
                     std::span<const Tensor> outputs);
void validate_options(const fabric::Fabric& fabric, const Request& request,
                      const CallOptions& options);

// Bytes per second between ranks of one device, for predictions.
inline constexpr double kLocalRate = 2e12;

// One moment by a device's clock and the host's (now_ns), which is known to `residual_ns`.
struct ClockSample {
  std::int64_t device_ns = 0;
  std::int64_t host_ns = 0;
  std::int64_t residual_ns = 0;
};

// What collectives keep with a fabric (Fabric::extension).
struct Session {
  std::mutex mutex;
  FaultPoint fault{};
  std::shared_ptr<const TuningTable> tuning;
  struct Predicted {
    const schedule::Prepared* schedule = nullptr;
    std::int64_t elements = -1;
    std::int64_t item = 0;
    std::int64_t ns = 0;
  };
  std::vector<Predicted> predicted;  // the last few sizes, newest first
  // From the first trace of chunks on; what is predicted of them, from each operation's launch on.
  std::unique_ptr<fabric::ChunkLog> chunks;
  bool tracing_chunks = false;
  std::vector<ClockSample> clocks;  // of CUDA ranks, at the trace's start
  std::vector<fabric::ChunkRecord> predicted_chunks;
  std::uint64_t predicted_dropped = 0;
  std::vector<int> device_of_rank;  // index in the fabric's topology
  // Schedules are made when first used, and live as long as the fabric.
  struct Made {
    Collective collective;
    Algorithm algorithm;
    std::int32_t root;
    std::int32_t group_size;
    std::vector<Rank> to;
    schedule::Prepared prepared;
  };
  std::vector<std::unique_ptr<Made>> schedules;
  struct KnownBucket {
    std::vector<std::int64_t> signature;
    std::shared_ptr<Bucket> bucket;
  };
  std::vector<KnownBucket> buckets;  // the last few, newest first
  std::shared_ptr<void> cuda;        // what the CUDA executor keeps
};
Session& session(const fabric::Fabric& fabric);

// The algorithm that a request runs with, and its schedule: the forced one, or the best for this
// fabric. Throws InvalidArgument, saying why, if a forced one cannot serve.
struct Selection {
  Algorithm algorithm = Algorithm::ring;
  const schedule::Prepared* schedule = nullptr;
  std::int32_t blocks = 0;  // the most a rank, where the call does not say; 0: nor does the table
};
Selection select(fabric::Fabric& fabric, const Request& request, const CallOptions& options);

}  // namespace weft::collectives
