// Deliberately broken variants of the protocol, to show that the tests would notice.
//
// Only a build with WEFT_MUTANTS defined (the ThreadSanitizer tests) can switch one on; in any
// other build active_mutant() is a constant and the variants compile to nothing.
#pragma once

namespace weft::fabric {

enum class Mutant {
  none,
  relaxed_release,   // signals are published without release
  skipped_wait,      // data is read without waiting for its signal
  stale_epoch,       // the counts of an operation are not carried to the next one
  early_slot_reuse,  // slots are written without waiting for their credit
  flag_before_data,  // the signal is published before the data is written
};

#ifdef WEFT_MUTANTS
inline Mutant mutant_in_force = Mutant::none;  // set once, before any fabric is opened
inline Mutant active_mutant() { return mutant_in_force; }
#else
constexpr Mutant active_mutant() { return Mutant::none; }
#endif

}  // namespace weft::fabric
