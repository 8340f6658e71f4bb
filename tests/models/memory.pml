// The memory of peers: all_reduce with the peers' vectors read and written directly, two_shot.h and,
// with ONE_SHOT_PULL, one_shot.h.
//
// two_shot, in place: every rank tells all others by a token that it takes part; reads its chunk of
// everybody's input; writes the sum into everybody's vector; waits for the other chunks.
// one_shot_pull, not in place: tokens; reads everybody's input whole; tells all others by a second
// token that it has read theirs; waits to be told.
// A rank's memory is its own between operations: the user reads the result and writes new input.
// Two operations, one after the other. Exhaustive for 2 to 5 ranks.
//
// Properties (schedule.h, invariant 2)
//   1. Nobody reads or writes a rank's vector before it takes part in this operation, nor after it
//      ended it.
//   2. An input is whole when it is read; every chunk is written once, and read by its owner
//      complete.
//   3. A rank that ends has seen all that was sent to it in this operation; all ranks end.
#include "lanes.pml"

// data[to * N + from]: pieces and tokens that `from` sent to `to`.
byte data[N * N] = FIRST;
#define word(to, from) data[(to) * N + (from)]

// A chunk is the input of operation op, 2 op + 2, or a result of it, 2 op + 3.
#define INPUT (2 * op + 2)
#define RESULT (2 * op + 3)
#define place(rank, number) vector[(rank) * N + (number)]
byte vector[N * N];

// The operation that a rank takes part in, from 1; 0: its memory is its user's.
byte part[N];

#define self _pid
#define peer ((self + 1 + i) % N)
#define PEERS (N - 1)

inline begin() {
  d_step {
    do
    :: i < N -> place(self, i) = INPUT; i++
    :: else -> i = 0; break
    od;
    part[self] = op + 1
  }
}

inline signal() {
  d_step {
    sent[peer] = plus(sent[peer], 1);
    word(peer, self) = sent[peer]
  }
}

inline give_tokens() {
  do
  :: i < PEERS -> signal(); i++
  :: else -> i = 0; break
  od
}

inline wait_one() {
  reached(word(self, peer), plus(received[peer], 1));
  received[peer] = plus(received[peer], 1)
}

inline wait_all() {
  do
  :: i < PEERS -> wait_one(); i++
  :: else -> i = 0; break
  od
}

// Reads the rank's chunk, or the whole vector, of one peer's input.
inline pull() {
  d_step {
    assert(part[peer] == op + 1);
#ifdef ONE_SHOT_PULL
    do
    :: k < N -> assert(place(peer, k) == INPUT); k++
    :: else -> k = 0; break
    od
#else
    assert(place(peer, self) == INPUT)
#endif
  }
}

inline pull_all() {
  do
  :: i < PEERS -> merged { pull() }; i++
  :: else -> i = 0; break
  od
}

inline push() {
  d_step {
    assert(part[peer] == op + 1);
    assert(place(peer, self) == INPUT);
    place(peer, self) = RESULT
  }
}

// All that a rank does between two operations is its user's.
inline end() {
#ifdef BUG_STALE_EPOCH  // the counts of an operation are not carried to the next one
  d_step {
    do
    :: i < N -> sent[i] = FIRST; received[i] = FIRST; i++
    :: else -> i = 0; break
    od;
    part[self] = 0
  }
#else
  part[self] = 0
#endif
}

inline two_shot() {
  merged { begin(); give_tokens() };
#ifdef BUG_NO_TOKENS  // inputs are pulled, and outputs written, of ranks that take no part yet
  pull_all();
  merged { wait_all() };
#elif defined(BUG_RELAXED_ACQUIRE)  // the last input may be read before its token is
  i = PEERS - 1;
  if
  :: pull(); i = 0; wait_all()
  :: i = 0; wait_all(); i = PEERS - 1; pull()
  fi;
  i = 0;
#elif defined(BUG_ONE_TOKEN)  // only the next rank's token is waited for
  wait_one();
  pull_all();
  i = 1;
  wait_all();
#else
  merged { wait_all() };
  pull_all();
#endif
  place(self, self) = RESULT;
  do
#ifdef BUG_FLAG_BEFORE_DATA  // the count is published before the chunk is written
  :: i < PEERS -> signal(); push(); i++
#else
  :: i < PEERS -> merged { push(); signal() }; i++
#endif
  :: else -> i = 0; break
  od;
#ifdef BUG_EARLY_END  // a rank ends when its own part is done
  part[self] = 0;
  wait_all()
#else
  do
  :: i < PEERS -> merged { wait_one(); assert(place(self, peer) == RESULT) }; i++
  :: else -> i = 0; break
  od
#endif
}

inline one_shot_pull() {
  merged { begin(); give_tokens() };
  merged { wait_all() };
#ifdef BUG_IN_PLACE  // the result is written over the input
  pull_all();
  skip;
  d_step {
    do
    :: i < N -> place(self, i) = RESULT; i++
    :: else -> i = 0; break
    od
  };
#else
  pull_all();
#endif
#ifdef BUG_NO_READ_TOKENS  // a rank ends before the others have read its input
  give_tokens();
  part[self] = 0;
  wait_all()
#else
  merged { give_tokens() };
  merged { wait_all() }
#endif
}

active [N] proctype Rank() {
  byte op, i, k;
  byte sent[N] = FIRST, received[N] = FIRST;
  do
  :: op < OPERATIONS ->
#ifdef ONE_SHOT_PULL
     one_shot_pull();
#else
     two_shot();
#endif
     end();
     op++
  :: else -> break
  od;
  // Nobody will send any more: what came is what was waited for.
  do
  :: i < PEERS -> assert(word(self, peer) == received[peer]); i++
  :: else -> i = 0; break
  od
}
