// Protocol of a slot (event_ring.h). There are no fences, so ThreadSanitizer sees every edge.
//
// A writer takes the slot by moving the version from any even value to its own odd one. It may find
//   - an odd version of an earlier lap: that writer is between two of its stores; it waits for it,
//     so no two writers ever store into one slot at once. The earlier one waits for nobody, so the
//     wait is as long as the scheduler keeps a runnable thread from 16 stores;
//   - a version of a later lap: its event has been overwritten before it was written. It leaves;
//     the event counts as dropped, as base_seq says.
// Words are stored with release and loaded with acquire: a reader that sees one word of a later
// event therefore also sees that event's odd version when it looks at the version again.
#include "core/base/event_ring.h"

#include <bit>
#include <thread>
#include <type_traits>

#include "core/base/clock.h"

namespace weft {
namespace {

// How long a snapshot waits for writers that have a number but not yet written. Past it the
// snapshot ends before them: readers never hang on a writer.
constexpr std::int64_t kPatienceNs = 10'000'000;

constexpr std::uint64_t writing(std::uint64_t seq) { return 2 * seq + 1; }
constexpr std::uint64_t written(std::uint64_t seq) { return 2 * seq + 2; }
constexpr bool is_writing(std::uint64_t version) { return version % 2 == 1; }

}  // namespace

static_assert(std::is_trivially_copyable_v<EventRecord>);
static_assert(std::has_unique_object_representations_v<EventRecord>);  // no padding to leak
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

EventRing::EventRing() : slots_(std::make_unique<Slot[]>(kCapacity)) {}

void EventRing::record(EventRecord event) noexcept {
  event.seq = next_.fetch_add(1, std::memory_order_relaxed);
  Slot& s = slot(event.seq);
  std::uint64_t version = s.version.load(std::memory_order_relaxed);
  for (;;) {
    if (version > writing(event.seq)) return;
    if (is_writing(version)) {
      std::this_thread::yield();
      version = s.version.load(std::memory_order_relaxed);
      continue;
    }
    // sync(event-slot): acquire - the earlier lap's words are stored before ours; pairs with
    // release at the end of record
    if (s.version.compare_exchange_weak(version, writing(event.seq), std::memory_order_acquire,
                                        std::memory_order_relaxed)) {
      break;
    }
  }
  const auto words = std::bit_cast<std::array<std::uint64_t, kWords>>(event);
  for (std::size_t i = 0; i < kWords; ++i) {
    // sync(event-word): release - publishes the odd version; pairs with acquire in read_slot
    s.words[i].store(words[i], std::memory_order_release);
  }
  // sync(event-slot): release - publishes the words; pairs with acquire in record and read_slot
  s.version.store(written(event.seq), std::memory_order_release);
}

EventRing::Read EventRing::read_slot(std::uint64_t seq, EventRecord& event) const {
  const Slot& s = slot(seq);
  // sync(event-slot): acquire - the words of event seq; pairs with release at the end of record
  const std::uint64_t version = s.version.load(std::memory_order_acquire);
  if (version < written(seq)) return Read::pending;
  if (version > written(seq)) return Read::overwritten;
  std::array<std::uint64_t, kWords> words;
  for (std::size_t i = 0; i < kWords; ++i) {
    // sync(event-word): acquire - a later event's odd version; pairs with release in record
    words[i] = s.words[i].load(std::memory_order_acquire);
  }
  if (s.version.load(std::memory_order_relaxed) != written(seq)) return Read::overwritten;
  event = std::bit_cast<EventRecord>(words);
  return Read::ok;
}

EventRing::Snapshot EventRing::snapshot() const {
  Snapshot result;
  const std::uint64_t reserved = next_.load(std::memory_order_relaxed);
  const std::uint64_t first = reserved > kCapacity ? reserved - kCapacity : 0;
  const Deadline patience = Deadline::after_ns(kPatienceNs);
  result.next_seq = reserved;
  result.base_seq = first;
  result.events.resize(reserved - first);
  // From the newest on down: writers overwrite the oldest first, so one overwritten event means
  // that all before it are gone too.
  for (std::uint64_t seq = reserved; seq-- > first;) {
    Read read = read_slot(seq, result.events[seq - first]);
    while (read == Read::pending && !patience.passed()) {
      std::this_thread::yield();
      read = read_slot(seq, result.events[seq - first]);
    }
    if (read == Read::pending) result.next_seq = seq;
    if (read == Read::overwritten) {
      result.base_seq = seq + 1;
      break;
    }
  }
  const auto begin = result.events.begin();
  result.events.erase(begin + static_cast<std::ptrdiff_t>(result.next_seq - first),
                      result.events.end());
  result.events.erase(begin, begin + static_cast<std::ptrdiff_t>(result.base_seq - first));
  return result;
}

}  // namespace weft
