// Faults: ranks stop, time out, are aborted, leave; then recover(), and everything works again.
//
// The ring of signal.pml under a host. Two operations are launched together. In them a rank may stop
// at the beginning of any step (STOPS of them at most), or rest there until the abort flag is up.
// Waits end by arrival, by the abort flag, or by their deadline, which passes
//   - with ANY_TIME: whenever it likes, as if no deadline were long enough;
//   - with USER_ABORT: never; the user aborts at some moment instead;
//   - else: when nothing else can happen any more, and then for everyone. A deadline that is longer
//     than any part of the work; so who is late really does not do its part.
// When all ranks have ended an operation, the host decides it from the records, as fault.cc does.
// After both it recovers, and a third operation without a fault is launched. The flag may be seen
// late: where it is up, a rank may leave or go on.
//
// Properties
//   1. Those of signal.pml: what is read is what was pushed, no slot or output is overwritten; a
//      rank that ends without a record has the whole result.
//   2. Nobody waits for ever: all ranks end all operations, and the host ends.
//   3. An operation without an error was completed by every rank but those that stopped; one with an
//      error was not, by some rank.
//   4. Where deadlines are long, the culprits of a timeout are ranks that stopped or rested, all of
//      them if only one may.
//   5. recover() finds no rank running; after it the third operation is complete on all ranks, and
//      leaves no record.
#include "lanes.pml"

#ifndef STOPS
#define STOPS 1
#endif
#define FAULTY 2       // operations before recover()
#define ALL (FAULTY + 1)
#define SLOTS 2
#ifdef REDUCE_SCATTER  // as in signal.pml
#define LAST (N - 1)
#define is_result(number) ((number) == (self + 1) % N)
#else
#define LAST (2 * N - 2)
#define is_result(number) true
#endif

byte data[N] = FIRST, credit[N] = FIRST;
// LaneProgress, which the host resets: from the previous rank, and to the next one.
byte received_before[N] = FIRST, sent_before[N] = FIRST;
byte read_before[N] = FIRST, pushed_before[N] = FIRST;

#define FREE 0
#define sum(terms) (1 + (op * N + chunk) * (N + 1) + terms)
byte slot[N * SLOTS];
#define INPUT (2 * op + 2)
#define RESULT (2 * op + 3)
#define place(rank) vector[(rank) * N + chunk]
byte vector[N * N];

// Records, by rank. Cleared ones are those of operation 0, as in fabric/signal.h.
#define OK 0
#define TIMEOUT 1
#define ABORTED 2
#define STOPPED 3
#define NOBODY N
byte outcome[N], record_step[N], record_peer[N], record_seen[N], record_op[N];

bool abort_flag;
bool late;       // the deadline has passed
bool aborted;    // by the user
byte launched;   // operations
byte ended[N];   // operations that the rank's stream is done with
byte stops;
bool at_fault[N];   // stopped or rested
byte completed[N];  // of the last operation that the rank did whole, its number + 1
bool host_ended;

#define self _pid
#define next ((self + 1) % N)
#define previous ((self + N - 1) % N)
#define chunk ((self + 2 * N - step) % N)
#define reads_slot (step > 0 && step < N)
#define to_slot (step < N - 1)
#define faulty (op < FAULTY)

#ifdef ANY_TIME
#define deadline_passed faulty
#elif defined(USER_ABORT)
#define deadline_passed false
#else
#define LONG_DEADLINES
#ifdef BUG_NO_DEADLINE  // waits end by arrival or the flag alone
#define deadline_passed false
#else
#define deadline_passed late
#endif
#endif
#ifdef BUG_WAITS_IGNORE_ABORT
#define told_to_leave false
#else
#define told_to_leave abort_flag
#endif

// The flag is raised, then the rank is gone. A record of an earlier operation stays.
inline leave(why, blamed, saw) {
#ifdef BUG_OUTCOME_FIRST  // the outcome can be seen before the rest of the record
  outcome[self] = why;
#endif
  d_step {
#ifdef LONG_DEADLINES  // only then they are looked at
    record_step[self] = step;
    record_peer[self] = blamed;
    record_seen[self] = saw;
#endif
    record_op[self] = op
  };
  outcome[self] = why;
#ifndef BUG_TIMEOUT_IS_SILENT  // who times out does not raise the flag
  if
  :: why == TIMEOUT -> abort_flag = true
  :: else
  fi;
#endif
#ifdef BUG_LEAVER_SIGNALS  // who leaves still tells the next rank of a piece
  if
  :: why != STOPPED && step < LAST -> data[next] = plus(sent_before[self], sent + 1)
  :: else
  fi;
#endif
  goto gone
}

// What a failed poll saw, if the count has come meanwhile.
#define before(count, goal) ((count) - ((count) >= (goal)) * ((count) - (goal) + 1))

inline wait(word, base, goal, whom) {
  if
  :: reached(word, plus(base, goal))
  :: told_to_leave -> leave(ABORTED, whom, before((word + WRAP - base) % WRAP, goal))
  :: deadline_passed -> leave(TIMEOUT, whom, before((word + WRAP - base) % WRAP, goal))
  fi
}

inline begin() {
  d_step {
    do
    :: i < N -> vector[self * N + i] = INPUT; i++
    :: else -> i = 0; break
    od
  }
}

inline begin_step() {
  if
  :: true
  :: told_to_leave -> leave(ABORTED, NOBODY, 0)
  :: atomic { faulty && stops < STOPS -> stops++; at_fault[self] = true };
     if
     :: leave(STOPPED, NOBODY, 0)
     :: told_to_leave -> leave(ABORTED, NOBODY, 0)
     fi
  fi
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
       credit[previous] = plus(read_before[self], slots_read)
     }
  :: else
  fi
}

inline signal() {
  if
  :: step < LAST ->
     d_step {
       sent++;
       data[next] = plus(sent_before[self], sent)
     }
  :: else
  fi
}

inline run_step() {
  merged {
    begin_step();
    if
    :: step > 0 ->
       wait(data[self], received_before[self], received + 1, previous);
       received++
    :: else
    fi;
    if
    :: to_slot && pushed >= SLOTS ->
       wait(credit[self], pushed_before[self], pushed + 1 - SLOTS, next)
    :: else
    fi;
    read()
  };
  merged { write(); free_slot(); signal() }
}

inline finish() {
  wait(credit[self], pushed_before[self], pushed, next);
  d_step {
    do
    :: i < N -> assert(!is_result(i) || vector[self * N + i] == RESULT); i++
    :: else -> i = 0; break
    od;
    received_before[self] = plus(received_before[self], received);
    sent_before[self] = plus(sent_before[self], sent);
    read_before[self] = plus(read_before[self], slots_read);
    pushed_before[self] = plus(pushed_before[self], pushed);
    completed[self] = op + 1
  }
}

active [N] proctype Rank() {
  byte op, step, i, received, sent, slots_read, pushed;
  do
  :: op < ALL ->
     launched > op;  // the stream's order
#ifndef BUG_LEAVER_RETURNS  // who left an operation takes part in the next one
     if
     :: outcome[self] != OK -> goto gone
     :: else
     fi;
#endif
     begin();
     do
     :: step <= LAST -> run_step(); step++
     :: else -> break
     od;
     merged { finish() };
gone:
     skip;
     d_step {
       step = 0; received = 0; sent = 0; slots_read = 0; pushed = 0;
       op++;
       ended[self] = op
     }
  :: else -> break
  od
}

// Time passes when nothing else can happen.
#if defined(LONG_DEADLINES) && !defined(BUG_NO_DEADLINE)
active proctype Clock() {
end:
  do
  :: timeout ->
     if
     :: host_ended -> break
     :: else ->
        assert(!late && launched == FAULTY);  // all who are late leave; the third has no fault
        late = true
     fi
  od
}
#endif

#ifdef USER_ABORT
active proctype User() {
  atomic { aborted = true; abort_flag = true }
}
#endif

#define told(rank) (outcome[rank] != OK && record_op[rank] <= id)
#define waited(rank) \
  (told(rank) && outcome[rank] != STOPPED && record_peer[rank] != NOBODY)
#define less_advanced(a, b)             \
  (record_step[a] < record_step[b] ||   \
   (record_step[a] == record_step[b] && record_seen[a] < record_seen[b]))

// Who made others wait; find_culprits() in fault.cc.
inline find_culprits() {
  r = 0;
  do
  :: r < N && !waited(r) -> r++
  :: r < N && waited(r) ->
     at = r;
     least = r;
     passed = 0;
     do
     :: waited(at) && !(passed & (1 << at)) ->
        passed = passed | (1 << at);
        if
        :: less_advanced(at, least) -> least = at
        :: else
        fi;
#ifdef BUG_BLAMES_THE_NEXT  // who was waited for is to blame, whomever it waited for itself
        at = record_peer[at];
        least = at;
        break
#else
        at = record_peer[at]
#endif
     :: else -> break
     od;
#ifndef BUG_BLAMES_THE_NEXT
     if
     :: !waited(at) -> least = at
     :: else
     fi;
#endif
     culprits = culprits | (1 << least);
     r++
  :: else -> break
  od
}

// The error of operation `id`, when every rank has ended it.
inline decide() {
  d_step {
    r = 0; timed_out = false; failed = false; whole = true; culprits = 0;
    do
    :: r < N ->
       timed_out = timed_out || (abort_flag && told(r) && outcome[r] == TIMEOUT);
       failed = failed || (abort_flag && told(r) && outcome[r] != STOPPED);
       whole = whole && (completed[r] > id || (told(r) && outcome[r] == STOPPED));
       r++
    :: else -> break
    od;
    assert(failed || whole);
#ifdef LONG_DEADLINES
    if
    :: timed_out ->
       find_culprits();
       assert(culprits != 0);
       r = 0;
       do
       :: r < N ->
          assert(!(culprits & (1 << r)) || at_fault[r]);
          assert(STOPS > 1 || !at_fault[r] || (culprits & (1 << r)));
          r++
       :: else -> break
       od
    :: else
    fi;
#endif
    // No record of a later operation is taken for one of this.
    r = 0; whole = true;
    do
    :: r < N -> whole = whole && completed[r] > id; r++
    :: else -> break
    od;
    assert(!failed || !whole);
    if
    :: failed -> abort_flag = true  // poison
    :: else
    fi;
    r = 0; at = 0; least = 0; passed = 0; culprits = 0
  }
}

// All words as open() leaves them. Slots and vectors are not touched: that they are cleared here says
// that nobody will read what they hold.
inline recover() {
  d_step {
    do
    :: r < N ->
#ifndef BUG_RECOVER_EARLY
       assert(ended[r] == FAULTY);
#endif
#ifndef BUG_RECOVER_KEEPS_SIGNALS
       data[r] = FIRST; credit[r] = FIRST;
#endif
#ifndef BUG_RECOVER_KEEPS_PROGRESS
       received_before[r] = FIRST; sent_before[r] = FIRST;
       read_before[r] = FIRST; pushed_before[r] = FIRST;
#endif
       slot[r * SLOTS] = FREE; slot[r * SLOTS + 1] = FREE;
#ifndef BUG_RECOVER_KEEPS_RECORDS
       outcome[r] = OK;
#endif
       record_step[r] = 0; record_peer[r] = 0; record_seen[r] = 0; record_op[r] = 0;
       at_fault[r] = false;
       i = 0;
       do
       :: i < N -> vector[r * N + i] = 0; i++
       :: else -> i = 0; break
       od;
       r++
    :: else -> r = 0; break
    od;
#ifndef BUG_RECOVER_KEEPS_FLAG
    abort_flag = false;
#endif
    late = false; stops = 0
  }
}

inline all_ended(count) {
  do
  :: r < N -> ended[r] >= count; r++
  :: else -> r = 0; break
  od
}

active proctype Host() {
  byte id, r, i, at, least, passed, culprits;
  bool timed_out, failed, whole;
  launched = FAULTY;
  do
  :: id < FAULTY ->
#ifdef BUG_RECOVER_EARLY  // the host recovers at the first record that it sees
     outcome[0] != OK || ended[0] > id;
#else
     merged { all_ended(id + 1) };
     decide();
#endif
     id++
  :: else -> break
  od;
#ifdef USER_ABORT
  aborted;
#endif
  recover();
  launched = ALL;
  all_ended(ALL);
  decide();
  assert(!failed && !abort_flag);
  do
  :: r < N -> assert(completed[r] == ALL && outcome[r] == OK); r++
  :: else -> break
  od;
  host_ended = true
}
