// Which algorithm "auto" takes: a table of rows, those measured on this machine before those that
// are shipped (tuning/shipped.h).
//
// A call runs with the first row that it fits and whose algorithm can serve it: so the rows that it
// fits are its order of preference.
//
// Invariants
//   1. A table never changes: a call sees one from its first row to its last, whatever set_tuning()
//      does meanwhile.
//   2. The shipped rows alone have an algorithm for every call that can be served at all.
//
// Thread safety: every function may be called from any thread.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "collectives/plan.h"
#include "fabric/fabric.h"

namespace weft::collectives {

// What the ranks run on: a GPU's compute capability as in sm_90, or one of these.
inline constexpr std::int32_t kSimulated = 0;
inline constexpr std::int32_t kAnyGpu = -1;

using CollectiveSet = std::uint32_t;  // bit i: Collective(i)
constexpr CollectiveSet only(Collective collective) {
  return CollectiveSet{1} << static_cast<unsigned>(collective);
}
constexpr CollectiveSet all_but(Collective collective) { return ~only(collective); }

enum class DTypeClass : std::uint8_t { any, floating, integral };
inline constexpr const char* kDTypeClassNames[] = {"any", "floating", "integral"};

inline constexpr std::int64_t kNoEnd = std::numeric_limits<std::int64_t>::max();

struct TuningRow {
  std::int32_t generation = kAnyGpu;
  std::int32_t ranks = 0;  // 0: any number
  CollectiveSet collectives = 0;
  DTypeClass dtypes = DTypeClass::any;
  std::optional<bool> captured{};  // by a graph; nothing: or not
  std::optional<bool> in_place{};  // nothing: or not
  std::int64_t from = 0;           // bytes of a rank's input, from and up_to included
  std::int64_t up_to = kNoEnd;
  Algorithm algorithm = Algorithm::automatic;
  std::int32_t blocks = 0;  // the most a rank; 0: as many as the algorithm takes by itself
  bool measured = false;    // on this machine
};

// What rows are chosen by. The op of a reduction is not among it: it moves no crossover.
struct TuningCall {
  Collective collective = Collective::all_reduce;
  bool floating = true;
  bool captured = false;
  bool in_place = false;
  std::int64_t bytes = 0;  // of the input of the first rank that has one
};

struct TuningTable {
  std::vector<TuningRow> rows;
  bool by_capture = false;  // whether any row asks if the call is captured
};

bool fits(const TuningRow& row, const TuningCall& call);

// The rows for `ranks` ranks of a generation: those of `measured` that are for them, in their
// order, then the shipped ones.
TuningTable make_table(std::int32_t generation, std::int32_t ranks,
                       std::span<const TuningRow> measured);

// The algorithms of the rows that the call fits, each once.
std::vector<Algorithm> preference(const TuningTable& table, const TuningCall& call);

std::int32_t generation_of(const fabric::Fabric& fabric);

// The table in force.
std::shared_ptr<const TuningTable> tuning(const fabric::Fabric& fabric);
// From now on these rows come before the shipped ones, instead of those of an earlier call. Throws
// InvalidArgument for a row that names no algorithm or no collective, or holds no size.
void set_tuning(fabric::Fabric& fabric, std::span<const TuningRow> measured);

}  // namespace weft::collectives
