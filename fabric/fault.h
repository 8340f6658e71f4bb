// From fault records to one error: what happened, and which ranks are to blame.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/base/error.h"
#include "core/base/types.h"
#include "fabric/signal.h"

namespace weft::fabric {

// The ranks that made others wait. Everyone who waited names whom for; following these names ends
// at ranks that waited for nobody, or in a circle, and then at its least advanced rank. `records`:
// one a rank, of ranks that left early; outcome ok for the others.
std::vector<int> find_culprits(std::span<const FaultRecord> records);

// The newest operation that a record concerns; 0 if none does. Records may be written meanwhile.
std::uint64_t newest_fault(std::span<const FaultRecord> records);

// The error of operation `id`, or nothing if no record concerns it. Records of all blocks of all
// ranks, rank by rank. CollectiveTimeout if any rank timed out, else CollectiveAborted.
std::optional<Error> error_from_records(std::span<const FaultRecord> records, WorldSize world,
                                        std::int32_t blocks, std::uint64_t id, const char* kind,
                                        std::int64_t timeout_ns);

}  // namespace weft::fabric
