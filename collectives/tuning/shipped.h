// The rows that weft is shipped with. Compiled in: they hold where nothing was measured.
//
// The crossovers of GPUs are those of 2 x NVIDIA H200 (sm_90), from the records in bench/results:
// h200x2-all-reduce-float32.json for all_reduce; h200x2-all-gather.json, h200x2-all-to-all.json,
// h200x2-broadcast.json and h200x2-p2p.json for what moves data (the limit of LL there, and that of
// the copy engines in all_reduce, are from runs that are not among the records). For other numbers
// of ranks and other generations they are predictions: the same rows, until something was measured
// there.
#pragma once

#include "collectives/tuner.h"

namespace weft::collectives {

inline constexpr std::int64_t kLamportBytes = 16 << 20;
inline constexpr std::int64_t kPullBytes = 4 << 20;
// At 64 MiB and above copy engines are no slower than push_two_shot, whose time with two-byte
// elements is not steady there on H200; at 32 MiB they are slower. The limit lies between the two.
inline constexpr std::int64_t kEngineBytes = 48 << 20;
inline constexpr std::int64_t kMoveLlBytes = 512 << 10;
inline constexpr std::int64_t kMoveEngineBytes = 64 << 20;

inline constexpr CollectiveSet kAllReduce = only(Collective::all_reduce);
inline constexpr CollectiveSet kMoves = all_but(Collective::all_reduce);

inline constexpr TuningRow kShippedRows[] = {
    {.collectives = kAllReduce, .up_to = kLamportBytes, .algorithm = Algorithm::lamport},
    {.collectives = kAllReduce, .up_to = kPullBytes, .algorithm = Algorithm::ll},
    {.collectives = kAllReduce, .up_to = kPullBytes, .algorithm = Algorithm::one_shot_pull},
    {.collectives = kAllReduce, .from = kEngineBytes, .algorithm = Algorithm::copy_engine},
    {.collectives = kAllReduce, .from = kPullBytes + 1, .algorithm = Algorithm::push_two_shot},
    {.collectives = kAllReduce, .algorithm = Algorithm::two_shot},
    // Copy engines reach memory that kernels of a peer may not.
    {.collectives = kAllReduce, .algorithm = Algorithm::copy_engine},

    {.collectives = kMoves, .up_to = kMoveLlBytes, .algorithm = Algorithm::ll},
    {.collectives = kMoves, .from = kMoveEngineBytes, .algorithm = Algorithm::copy_engine},
    {.collectives = kMoves, .algorithm = Algorithm::one_shot_pull},
    {.collectives = kMoves, .algorithm = Algorithm::one_shot},
    {.collectives = kMoves, .algorithm = Algorithm::two_shot},
    {.collectives = kMoves, .algorithm = Algorithm::copy_engine},

    // On the host's memory, with few cores, waits cost more than copies: two_shot has fewer.
    {.generation = kSimulated, .collectives = kAllReduce, .algorithm = Algorithm::two_shot},
    {.generation = kSimulated, .collectives = kAllReduce, .algorithm = Algorithm::ring},
    {.generation = kSimulated, .collectives = kMoves, .algorithm = Algorithm::one_shot_pull},
    {.generation = kSimulated, .collectives = kMoves, .algorithm = Algorithm::one_shot},
    {.generation = kSimulated, .collectives = kMoves, .algorithm = Algorithm::two_shot},
    {.generation = kSimulated, .collectives = kMoves, .algorithm = Algorithm::ring},
};

}  // namespace weft::collectives
