// Which simulated stream runs next.
//
// Without a seed the operating system decides. With one (WEFT_SIM_SEED, or seed() in a test) only
// one stream runs at a time, and at every yield_point() the next is drawn at random from those that
// could run: interleavings that a free machine rarely shows, drawn again by the same seed.
//
// Thread safety: static state behind one mutex; without a seed a yield costs a sched_yield().
#pragma once

#include <cstdint>

namespace weft {

class SimScheduler {
 public:
  // 0: the operating system schedules. Only between operations.
  static void seed(std::uint64_t seed);

  // Called by works wherever another stream could go first: in waits and between pieces.
  static void yield_point();
  // One wait of a work that polls. yield(), called where it found nothing, is a yield_point() and
  // gives the processor away. Fair schedulers hold a thread that yields again and again back behind
  // busy ones, for many times their slice: after a millisecond it sleeps instead.
  class Wait {
   public:
    void yield();

   private:
    std::int64_t begun_ns_ = 0;
  };

  // Held while a work runs.
  class Turn {
   public:
    Turn();
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    bool seeded_;
  };
};

}  // namespace weft
