// Signals and slots: a ring, in place, operation after operation.
//
// Rank r pushes to r + 1: partial sums into its slots, finished chunks into its output. The lane
// between them has two words, data and credit, with the counts of fabric/signal.h. Two operations
// run back to back; nothing is reset between them. The schedule is the all_reduce of
// collectives/schedule/ring.h or, with REDUCE_SCATTER, its first half alone, where only the credits
// say that the next rank has read its slots. Exhaustive for 2 to 5 ranks.
//
// Properties (assertions; that all ranks end is the absence of invalid end states)
//   1. No slot is overwritten before it was read.
//   2. What is read from a slot is the partial sum of the right ranks, in the right operation,
//      round and piece.
//   3. No output is written before its owner takes part or after it read the place or ended, and an
//      input is whole when it is read: the ring works in place.
//   4. A rank that ends an operation has nothing outstanding: all its slots have been read, all
//      credits are in, and its vector is the result.
#include "lanes.pml"

#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef PIECES
#define PIECES 1  // a step and round
#endif
#ifdef BUG_FEW_SLOTS  // not more slots than pieces of a step: full slots wait in a circle
#define SLOTS PIECES
#else
#define SLOTS (2 * PIECES)
#endif
#ifdef REDUCE_SCATTER
#define LAST (N - 1)  // step
#define is_result(number) ((number) / (ROUNDS * PIECES) == (self + 1) % N)
#else
#define LAST (2 * N - 2)
#define is_result(number) true
#endif
#define PLACES (N * ROUNDS * PIECES)  // of a vector

byte data[N] = FIRST;    // of the lane from r - 1, lives with r
byte credit[N] = FIRST;  // of the lane to r + 1, lives with r

// A partial sum: operation, round, piece, chunk, and how many ranks were added up from rank `chunk`
// on. A slot that was read is free.
#define FREE 0
#define sum(terms) (1 + (((op * ROUNDS + round) * PIECES + piece) * N + chunk) * (N + 1) + terms)
short slot[N * SLOTS];  // by owner

// A place of a vector is the input of operation op, 2 op + 2, or a result of it, 2 op + 3.
#define INPUT (2 * op + 2)
#define RESULT (2 * op + 3)
#define place(rank) vector[(rank) * PLACES + (chunk * ROUNDS + round) * PIECES + piece]
byte vector[N * PLACES];

#define self _pid
#define next ((self + 1) % N)
#define chunk ((self + 2 * N - step) % N)
#define reads_slot (step > 0 && step < N)
#define to_slot (step < N - 1)

// The user's new input, in the place of the last result.
inline begin() {
  d_step {
    do
    :: i < PLACES -> vector[self * PLACES + i] = INPUT; i++
    :: else -> i = 0; break
    od
  }
}

#define data_there reached(data[self], plus(base_received, received + 1))
#define slot_free reached(credit[self], plus(base_pushed, pushed + 1 - SLOTS))

inline wait_data() {
  step == 0 || data_there;
  received = received + (step > 0)
}

inline take_slot() {
#ifdef BUG_EARLY_REUSE  // the slot is used without its credit
  skip
#else
  !to_slot || pushed < SLOTS || slot_free
#endif
}

inline read() {
  d_step {
    if
    :: reads_slot ->
       assert(slot[self * SLOTS + slots_read % SLOTS] == sum(step));
       slot[self * SLOTS + slots_read % SLOTS] = FREE
    :: else
    fi;
    assert(place(self) == (step < N -> INPUT : RESULT))
  }
}

inline write() {
  d_step {
    if
    :: to_slot ->
       assert(slot[next * SLOTS + pushed % SLOTS] == FREE);
       slot[next * SLOTS + pushed % SLOTS] = sum(step + 1);
       pushed++
    :: !to_slot && step < LAST ->
       assert(place(next) == INPUT);
       place(next) = RESULT
    :: else
    fi;
    if
    :: step == N - 1 -> place(self) = RESULT  // keep
    :: else
    fi
  }
}

inline free_slot() {
  if
  :: reads_slot ->
     d_step {
       slots_read++;
       credit[(self + N - 1) % N] = plus(base_read, slots_read)
     }
  :: else
  fi
}

inline signal() {
  if
#ifdef BUG_SILENT_EMPTY_PIECE  // rank 0 sends no signal for its last piece, which may be empty
  :: self == 0 && round == ROUNDS - 1 && piece == PIECES - 1 && step == 0
#endif
  :: else ->
     if
     :: step < LAST ->
        d_step {
          sent++;
          data[next] = plus(base_sent, sent)
        }
     :: else
     fi
  fi
}

inline run_piece() {
  merged {
#ifdef BUG_RELAXED_ACQUIRE  // the slot may be read before the count is
    if
    :: wait_data(); take_slot(); read()
    :: read(); wait_data(); take_slot()
    fi
#elif defined(BUG_SKIPPED_WAIT)  // the slot is read without waiting for its signal
    received = received + (step > 0); take_slot(); read()
#elif defined(BUG_CREDIT_BEFORE_READ)  // the slot is free before it was read
    wait_data(); take_slot(); free_slot();
    slots_read = slots_read - reads_slot; read(); slots_read = slots_read + reads_slot
#else
    wait_data(); take_slot(); read()
#endif
  };
  merged {
#ifdef BUG_RELAXED_RELEASE  // the count may be seen before what was pushed
    if
    :: write(); free_slot(); signal()
    :: free_slot(); signal(); write()
    fi
#elif defined(BUG_CREDIT_BEFORE_READ)
    write(); signal()
#else
    write(); free_slot(); signal()
#endif
  }
}

// All credits are in; then the counts are carried over.
inline finish() {
#ifndef BUG_NO_LAST_CREDITS  // a rank ends before its last slots were read
  reached(credit[self], plus(base_pushed, pushed));
#endif
  d_step {
    assert(credit[self] == plus(base_pushed, pushed));
    do
    :: i < SLOTS -> assert(slot[next * SLOTS + i] == FREE); i++
    :: else -> i = 0; break
    od;
    do
    :: i < PLACES -> assert(!is_result(i) || vector[self * PLACES + i] == RESULT); i++
    :: else -> i = 0; break
    od;
#ifndef BUG_STALE_EPOCH  // the counts of an operation are not carried to the next one
    base_received = plus(base_received, received);
    base_sent = plus(base_sent, sent);
    base_read = plus(base_read, slots_read);
    base_pushed = plus(base_pushed, pushed);
#endif
    received = 0; sent = 0; slots_read = 0; pushed = 0
  }
}

active [N] proctype Rank() {
  byte op, round, step, piece, i;
  byte received, sent, slots_read, pushed;                                    // of this operation
  byte base_received = FIRST, base_sent = FIRST, base_read = FIRST, base_pushed = FIRST;
  do
  :: op < OPERATIONS ->
     begin();
     do
     :: round < ROUNDS ->
        do
        :: step <= LAST ->
           do
           :: piece < PIECES -> run_piece(); piece++
           :: else -> piece = 0; break
           od;
           step++
        :: else -> step = 0; break
        od;
        round++
     :: else -> round = 0; break
     od;
     merged { finish() };
     op++
  :: else -> break
  od;
  // Nobody will send any more: what came is what was waited for.
  assert(data[self] == base_received)
}
