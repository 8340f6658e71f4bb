// LL lines on the device, for the kernels that use them: see ll.h for the protocol.
#pragma once

#include "collectives/executor/cuda/flagged.cuh"
#include "core/device/cuda/ptx.cuh"

namespace weft::collectives::cuda {

// A line is two words of 64 bits: data below, flag above.
using Line = ulonglong2;

__device__ inline Line* lines_of(const FlaggedBlock& block, int owner, int source) {
  return reinterpret_cast<Line*>(block.lines(owner, source));
}
__device__ inline Line make_line(const uint2& data, std::uint32_t epoch) {
  const std::uint64_t flag = std::uint64_t{epoch} << 32;
  return {flag | data.x, flag | data.y};
}
__device__ inline bool has_arrived(const Line& line, std::uint32_t epoch) {
  return static_cast<std::uint32_t>(line.x >> 32) == epoch &&
         static_cast<std::uint32_t>(line.y >> 32) == epoch;
}

__device__ inline int lines_for(std::int64_t bytes) {
  return static_cast<int>((bytes + kLinePayload - 1) / kLinePayload);
}

// Payload of line i of a vector; what lies past its end is zero.
__device__ inline uint2 load_line(const std::byte* vector, int i, std::int64_t bytes) {
  return load_words<std::uint8_t, uint2>(vector, i * kLinePayload, bytes,
                                         is_aligned(vector, kLinePayload));
}

// Keeps invariant 2 of ll.h. lines_of_source(source): what that rank sends here in this operation.
template <class LinesOf>
__device__ void clear_one_line(const FlaggedBlock& block, const LinesOf& lines_of_source) {
  const FlaggedParams& params = block.params;
  if (blockIdx.x != 0 || static_cast<int>(threadIdx.x) >= params.world) return;
  const int source = static_cast<int>(threadIdx.x);
  const auto line =
      static_cast<int>(block.epoch / 2 % static_cast<std::uint32_t>(params.source_lines));
  if (source == params.rank || line < lines_of_source(source)) return;
  ptx::st_relaxed_sys(lines_of(block, params.rank, source) + line, Line{0, 0});
}

// Waits for a line; false: the block leaves.
__device__ inline bool take(const FlaggedBlock& block, int source, int i,
                            fabric::cuda::FaultLatch& latch, uint2& data) {
  const Line* at = lines_of(block, block.params.rank, source) + i;
  Line line = ptx::ld_relaxed_sys(at);
  if (!has_arrived(line, block.epoch)) {
    latch.begin_wait();
    do {
      if (!go_on_waiting(block.params, source, 0, latch)) return false;
      line = ptx::ld_relaxed_sys(at);
    } while (!has_arrived(line, block.epoch));
  }
  data = {static_cast<std::uint32_t>(line.x), static_cast<std::uint32_t>(line.y)};
  return true;
}

}  // namespace weft::collectives::cuda
