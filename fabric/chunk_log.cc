#include "fabric/chunk_log.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "core/base/error.h"

namespace weft::fabric {
namespace {

constexpr std::int64_t kPatience = 10'000'000'000;  // ns, for an idle stream

void finish(const ChunkLog::Place& place) {
  const Event event = place.device->create_event();
  bool done = false;
  try {
    place.device->record(event, place.stream);
    done = place.device->synchronize(event, Deadline::after_ns(kPatience));
  } catch (...) {
    place.device->destroy_event(event);
    throw;
  }
  place.device->destroy_event(event);
  if (!done) fail(ErrorCode::collective_timeout, "the log of chunks: a stream did not become idle");
}

}  // namespace

ChunkWriter::ChunkWriter(ChunkLogView log, std::int32_t block) {
  if (!log.words || log.words[0] == 0) return;
  records_ = log.of_block(block);
  count_ = log.count(block);
  room_ = log.room;
}

void ChunkWriter::add(const ChunkRecord& record) {
  if (*count_ < room_) records_[*count_] = record;
  ++*count_;
}

ChunkLog::ChunkLog(std::span<const Place> ranks, std::int32_t blocks) : blocks_(blocks) {
  const std::uint32_t room = kRecords / static_cast<std::uint32_t>(blocks);
  const Bytes bytes(static_cast<std::int64_t>(sizeof(ChunkRecord)) * blocks * room);
  try {
    for (const Place& place : ranks) {
      Log& log = logs_.emplace_back(Log{place});
      log.host = static_cast<std::uint32_t*>(place.device->allocate_pinned(words_bytes()));
      log.view.room = room;
      log.view.words = static_cast<std::uint32_t*>(place.device->allocate_shared(words_bytes()));
      log.view.records = static_cast<ChunkRecord*>(place.device->allocate_shared(bytes));
    }
  } catch (...) {
    release();
    throw;
  }
}

ChunkLog::~ChunkLog() { release(); }

void ChunkLog::release() noexcept {
  for (const Log& log : logs_) {
    log.place.device->deallocate_pinned(log.host);
    log.place.device->deallocate_shared(log.view.words);
    log.place.device->deallocate_shared(log.view.records);
  }
}

void ChunkLog::start() {
  for (const Log& log : logs_) {
    std::fill_n(log.host, 1 + blocks_, 0U);
    log.host[0] = 1;
    log.place.device->copy(log.place.stream, log.view.words, log.host, words_bytes());
  }
  for (const Log& log : logs_) finish(log.place);
}

void ChunkLog::stop() {
  for (const Log& log : logs_) {
    log.place.device->copy(log.place.stream, log.host, log.view.words, words_bytes());
    log.place.device->fill(log.place.stream, log.view.words, 0, Bytes(sizeof(std::uint32_t)));
  }
  for (const Log& log : logs_) finish(log.place);
  for (Log& log : logs_) fetch(log);
}

// The records of all blocks, to the host.
void ChunkLog::fetch(Log& log) const {
  log.content = {};
  std::size_t all = 0;
  const auto kept = [&](std::int32_t block) {
    return std::min(log.host[1 + block], log.view.room);
  };
  for (std::int32_t block = 0; block < blocks_; ++block) {
    all += kept(block);
    log.content.dropped += log.host[1 + block] - kept(block);
  }
  if (all == 0) return;
  Device& device = *log.place.device;
  const auto release = [&](ChunkRecord* memory) { device.deallocate_pinned(memory); };
  const Bytes bytes(static_cast<std::int64_t>(all * sizeof(ChunkRecord)));
  const std::unique_ptr<ChunkRecord, decltype(release)> copied(
      static_cast<ChunkRecord*>(device.allocate_pinned(bytes)), release);
  std::size_t first = 0;
  for (std::int32_t block = 0; block < blocks_; ++block) {
    if (kept(block) == 0) continue;
    const Bytes part(static_cast<std::int64_t>(kept(block) * sizeof(ChunkRecord)));
    device.copy(log.place.stream, copied.get() + first, log.view.of_block(block), part);
    first += kept(block);
  }
  finish(log.place);
  log.content.records.assign(copied.get(), copied.get() + all);
}

ChunkLog::Content ChunkLog::take(Rank rank) {
  return std::exchange(logs_[static_cast<std::size_t>(rank.value())].content, {});
}

}  // namespace weft::fabric
