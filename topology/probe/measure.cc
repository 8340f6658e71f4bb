// See measure.h. The streams and memory are in bench.h.
#include "topology/probe/measure.h"

#include <algorithm>
#include <exception>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "topology/probe/bench.h"

namespace weft::topology {
namespace {

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

std::string end_name(int index) { return index == kHostMemory ? "host" : concat(index); }

std::string words_of(const Trial& trial) {
  const Transfer& first = trial.transfers.front();
  const std::string more =
      trial.transfers.size() > 1 ? concat(" and ", trial.transfers.size() - 1, " more") : "";
  return concat(trial.what, " by ", engine_name(trial.engine), ", ", trial.bytes, " bytes, ",
                end_name(first.from), " -> ", end_name(first.to), more);
}

// Samples of every transfer as figures; of a flag its seconds, else bytes per second.
void add_figures(const Trial& trial, const std::vector<std::vector<double>>& samples,
                 std::vector<Measurement>* figures) {
  for (std::size_t t = 0; t < trial.transfers.size(); ++t) {
    std::vector<double> values;
    for (const std::vector<double>& sample : samples) {
      const double seconds = sample[t] / trial.repeats;
      values.push_back(trial.engine == Engine::flag
                           ? seconds / 2
                           : static_cast<double>(trial.bytes) / std::max(seconds, 1e-12));
    }
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    figures->push_back({trial.transfers[t].from, trial.transfers[t].to, trial.what,
                        engine_name(trial.engine), trial.both_directions, trial.bytes,
                        median_of(values), *most - *least,
                        static_cast<std::int32_t>(values.size())});
  }
}

void run_trial(Bench& bench, const Trial& trial, std::vector<Measurement>* figures) {
  static_cast<void>(bench.sample(trial));  // warms up
  std::vector<std::vector<double>> samples;
  for (std::int32_t i = 0; i < trial.samples; ++i) samples.push_back(bench.sample(trial));
  add_figures(trial, samples, figures);
}

}  // namespace

Measured measure_devices(std::span<Device* const> devices, const Plan& plan,
                         const MeasureLimits& limits, const Progress& progress) {
  const std::int64_t start = now_ns();
  const Deadline deadline = Deadline::after_ns(seconds_to_ns(limits.total_seconds));
  Measured measured;
  measured.planned_seconds = plan.seconds;
  measured.notes = plan.notes;
  double to_do = 1e-9, done = 0;
  for (const Trial& trial : plan.trials) to_do += trial.seconds;
  progress(0, "setting up");
  Bench bench(devices, plan, seconds_to_ns(limits.wait_seconds));
  for (const Trial& trial : plan.trials) {
    const std::string words = words_of(trial);
    progress(std::min(1.0, done / to_do), words);
    if (deadline.passed()) {
      measured.notes.push_back(
          concat("measure: stopped after ", limits.total_seconds, " s, before ", words));
      break;
    }
    try {
      run_trial(bench, trial, &measured.figures);
    } catch (const Error& error) {
      measured.notes.push_back(concat("measure: stopped at ", words, ": ", error.message()));
      break;
    }
    done += trial.seconds;
  }
  progress(1, "done");
  measured.seconds = 1e-9 * static_cast<double>(now_ns() - start);
  return measured;
}

}  // namespace weft::topology
