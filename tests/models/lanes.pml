// What the models share: how many ranks, counts that wrap, and what runs as one step.
//
// Merged steps. Without FINE some steps of a rank run together, `merged`. It loses no behaviour, as
// each such block is (waits)(one access of memory)(publications), and:
//   - A wait only reads a word that is counted up. Once true it stays true, so that it may as well
//     happen just before the step that follows it.
//   - A publication only makes waits of others true, and nothing else reads the word. So it may as
//     well happen just after the step before it.
// Between blocks everything interleaves. With FINE every wait, every access and every publication
// is a step by itself; check.py runs both.
#ifndef N
#define N 3  // ranks
#endif
#define OPERATIONS 2  // back to back, with nothing between them but the user's new input

// Counts wrap at 16 in place of 2^32, and begin just below, so that each of them wraps.
#define WRAP 16
#define FIRST (WRAP - 3)
#define plus(count, n) (((count) + (n)) % WRAP)
#ifdef BUG_UNSIGNED_COMPARE  // counts are compared as if they did not wrap
#define reached(word, goal) ((word) >= (goal))
#else
#define reached(word, goal) (((word) + WRAP - (goal)) % WRAP < WRAP / 2)
#endif

#ifdef FINE
#define merged
#else
#define merged atomic
#endif
