// The meeting at the end: two operations of different schedules share a rank's slots.
//
// Which slot a sender's piece goes to is the schedule's (lanes.h under collectives/schedule), so
// that a slot of one sender in the first operation is another's in the second. Credits cannot tell
// the second sender that the first one's piece has been read; a token from everyone to everyone
// does (meets_at_end in collectives/plan.h). The first operation is a ring reduce_scatter, the
// second a reduce_scatter by one push to every peer. Exhaustive for 2 to 5 ranks.
//
// Properties
//   1. No slot is overwritten before it was read, by whichever lane.
//   2. What is read from a slot is what the right rank pushed in the right operation and step.
//   3. A rank that ends has nothing outstanding: all it pushed was read, all credits are in.
#include "lanes.pml"

byte data[N * N] = FIRST;    // [to * N + from], lives with `to`
byte credit[N * N] = FIRST;  // [owner of the word * N + who reads the slots]
#define data_word(to, from) data[(to) * N + (from)]
#define credit_word(to, from) credit[(to) * N + (from)]

// The slots of a rank: a lane has two. What is in one: operation, sender, step; or free.
#define FREE 0
#define content(from, number) (1 + (op * N + (from)) * N + (number))
#define SLOTS 2
byte slot[N * SLOTS * (N - 1)];  // by owner and lane
#define slot_of(owner, lane, count) slot[((owner) * (N - 1) + (lane)) * SLOTS + (count) % SLOTS]
// The senders of a rank in rank order, from 0: the lanes of the second operation.
#define lane_of(owner, from) ((from) - ((from) > (owner)))

#define self _pid
#define next ((self + 1) % N)
#define previous ((self + N - 1) % N)
#define peer ((self + 1 + i) % N)
#define PEERS (N - 1)

inline signal(to) {
  d_step {
    sent[to] = plus(sent[to], 1);
    data_word(to, self) = sent[to]
  }
}

// To everyone.
inline give_tokens() {
  do
  :: i < PEERS -> signal(peer); i++
  :: else -> i = 0; break
  od
}

inline receive(from) {
  reached(data_word(self, from), plus(received[from], 1));
  received[from] = plus(received[from], 1)
}

inline read(from, lane, count, number) {
  d_step {
    assert(slot_of(self, lane, count) == content(from, number));
    slot_of(self, lane, count) = FREE
  }
}

inline write(to, lane, count, number) {
  d_step {
    assert(slot_of(to, lane, count) == FREE);
    slot_of(to, lane, count) = content(self, number)
  }
}

inline free_slot(from) {
  d_step {
    slots_read[from] = plus(slots_read[from], 1);
    credit_word(from, self) = slots_read[from]
  }
}

#define credits_of(to, count) reached(credit_word(self, to), plus(slots_pushed[to], count))

// Steps 0 to n - 1 of the ring, all on lane 0 of the next rank.
inline ring() {
  do
  :: step < N ->
#ifdef BUG_TOKENS_TOO_EARLY
     if
     :: step == PEERS -> give_tokens()
     :: else
     fi;
#endif
     merged {
       if
       :: step > 0 -> receive(previous)
       :: else
       fi;
       step < SLOTS || step == PEERS || credits_of(next, step + 1 - SLOTS);
       if
       :: step > 0 -> read(previous, 0, step - 1, step - 1)
       :: else
       fi
     };
     merged {
       if
       :: step < PEERS -> write(next, 0, step, step)
       :: else
       fi;
       if
       :: step > 0 -> free_slot(previous)
       :: else
       fi;
       if
       :: step < PEERS -> signal(next)
       :: else
       fi
     };
     step++
  :: else -> step = 0; break
  od;
  merged {
    credits_of(next, PEERS);
    d_step {
      assert(credit_word(self, next) == plus(slots_pushed[next], PEERS));
      slots_pushed[next] = plus(slots_pushed[next], PEERS)
    }
  }
}

// One piece to every peer; one of every peer, added in rank order.
inline direct() {
  do
  :: i < PEERS -> merged { write(peer, lane_of(peer, self), 0, 0); signal(peer) }; i++
  :: else -> i = 0; break
  od;
  merged {
    do
    :: i < PEERS -> receive(peer); i++
    :: else -> i = 0; break
    od
  };
  do
  :: i < PEERS -> merged { read(peer, lane_of(self, peer), 0, 0) }; i++
  :: else -> i = 0; break
  od;
  merged {
    do
    :: i < PEERS -> free_slot(peer); i++
    :: else -> i = 0; break
    od
  };
  merged {
    do
    :: i < PEERS -> credits_of(peer, 1); i++
    :: else -> i = 0; break
    od;
    skip;
    d_step {
      do
      :: i < PEERS ->
         slots_pushed[peer] = plus(slots_pushed[peer], 1);
         assert(credit_word(self, peer) == slots_pushed[peer]);
         i++
      :: else -> i = 0; break
      od
    }
  }
}

inline meet() {
#ifdef BUG_NO_MEETING  // a rank goes on when its own part is done
  skip
#else
#ifdef BUG_TOKENS_TOO_EARLY  // the first operation's tokens were given before its last read
  if
  :: op > 0 -> merged { give_tokens() }
  :: else
  fi;
#else
  merged { give_tokens() };
#endif
  merged {
    do
    :: i < PEERS -> receive(peer); i++
    :: else -> i = 0; break
    od
  }
#endif
}

active [N] proctype Rank() {
  byte step, i, op;
  byte sent[N] = FIRST, received[N] = FIRST, slots_read[N] = FIRST, slots_pushed[N] = FIRST;
  ring();
  meet();
  op = 1;
  direct();
  meet();
  // Nobody will send any more: what came is what was waited for.
  do
  :: i < PEERS -> assert(data_word(self, peer) == received[peer]); i++
  :: else -> i = 0; break
  od
}
