// Logs of chunks: off and on, the room of a block, exact drops, and what comes back of a device.
#include <doctest/doctest.h>

#include <array>
#include <vector>

#include "core/device/sim/sim_device.h"
#include "fabric/chunk_log.h"

namespace weft::testing {
namespace {

using fabric::ChunkLog;
using fabric::ChunkLogView;
using fabric::ChunkRecord;
using fabric::ChunkWriter;

ChunkRecord numbered(int number) {
  ChunkRecord record;
  record.round = number;
  return record;
}

// A log of two blocks, as an executor sees it.
struct Memory {
  std::array<std::uint32_t, 3> words{1, 0, 0};
  std::array<ChunkRecord, 6> records{};
  ChunkLogView view() { return {words.data(), records.data(), 3}; }
};

}  // namespace

TEST_CASE("a block's records go on where the last operation's ended, in its own room") {
  Memory memory;
  for (int operation = 0; operation < 2; ++operation) {
    ChunkWriter writer(memory.view(), 1);
    REQUIRE(writer.on());
    writer.add(numbered(10 + operation));
  }
  CHECK(memory.words == std::array<std::uint32_t, 3>{1, 0, 2});
  CHECK(memory.records[3].round == 10);
  CHECK(memory.records[4].round == 11);
  CHECK(memory.records[0].round == 0);
}

TEST_CASE("records without room are counted, and written nowhere") {
  Memory memory;
  ChunkWriter writer(memory.view(), 0);
  for (int i = 1; i <= 5; ++i) writer.add(numbered(i));
  CHECK(memory.words[1] == 5);
  CHECK(memory.records[2].round == 3);
  CHECK(memory.records[3].round == 0);  // the next block's
}

TEST_CASE("a writer of a log that is off, or of none, is off") {
  Memory memory;
  memory.words[0] = 0;
  CHECK_FALSE(ChunkWriter(memory.view(), 0).on());
  CHECK_FALSE(ChunkWriter(ChunkLogView{}, 0).on());
}

TEST_CASE("what was written while a log was on comes back, with exact drops") {
  Device& device = weft::device({DeviceKind::sim, DeviceOrdinal(0)});
  const Stream stream = device.create_stream(StreamPriority::normal);
  {
    const ChunkLog::Place place{&device, stream};
    ChunkLog log(std::span(&place, 1), 4);
    const std::uint32_t room = log.view(Rank(0)).room;
    CHECK(room == ChunkLog::kRecords / 4);
    CHECK_FALSE(ChunkWriter(log.view(Rank(0)), 0).on());
    for (const std::uint32_t extra : {0U, 7U}) {
      log.start();
      ChunkWriter second(log.view(Rank(0)), 2);
      for (std::uint32_t i = 0; i < room + extra; ++i) second.add(numbered(static_cast<int>(i)));
      ChunkWriter(log.view(Rank(0)), 0).add(numbered(-5));
      log.stop();
      CHECK_FALSE(ChunkWriter(log.view(Rank(0)), 0).on());
      const ChunkLog::Content content = log.take(Rank(0));
      REQUIRE(content.records.size() == room + 1);
      CHECK(content.records[0].round == -5);
      CHECK(content.records[1].round == 0);
      CHECK(content.records.back().round == static_cast<int>(room) - 1);
      CHECK(content.dropped == extra);
      CHECK(log.take(Rank(0)).records.empty());
    }
  }
  device.destroy_stream(stream);
}

}  // namespace weft::testing
