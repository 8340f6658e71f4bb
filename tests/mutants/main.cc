// Runs a workload of an algorithm under one deliberately broken variant of the protocol
// (fabric/mutant.h).
//
// Only built with ThreadSanitizer and WEFT_MUTANTS. Exit 0: results right and nothing reported;
// with any mutant but "none" that would mean that the tests have no power, so ctest expects a
// failure.
#include <cstdio>
#include <cstring>

#include "tests/collectives/sim_fabric.h"

namespace weft::testing {
namespace {

using fabric::Mutant;

struct Named {
  const char* name;
  Mutant mutant;
};
constexpr Named kMutants[] = {
    {"none", Mutant::none},
    {"relaxed_release", Mutant::relaxed_release},
    {"skipped_wait", Mutant::skipped_wait},
    {"stale_epoch", Mutant::stale_epoch},
    {"early_slot_reuse", Mutant::early_slot_reuse},
    {"flag_before_data", Mutant::flag_before_data},
};

// Small vectors for the signals, one of many rounds for the slots.
int workload(collectives::Algorithm algorithm) {
  const auto fabric = open_sim(4, 20);
  std::int64_t wrong = 0;
  for (std::uint32_t i = 0; i < 20; ++i) {
    Vectors vectors(4, i % 5 == 4 ? 1'200'000 : 3000 + 911 * i, i);
    const auto error = sum_in_place(*fabric, vectors, 0, algorithm);
    if (error) {
      std::printf("%s\n", error->what());
      return 1;
    }
    wrong += vectors.wrong();
  }
  std::printf("%lld wrong elements\n", static_cast<long long>(wrong));
  return wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace weft::testing

int main(int count, char** arguments) {
  for (const auto& [name, mutant] : weft::testing::kMutants) {
    if (count == 3 && std::strcmp(arguments[1], name) == 0) {
      weft::fabric::mutant_in_force = mutant;
      return weft::testing::workload(weft::collectives::parse_algorithm(arguments[2]));
    }
  }
  std::fprintf(stderr, "usage: weft_mutants none|relaxed_release|... ALGORITHM\n");
  return 2;
}
