// Percentiles of a histogram beside those of the sorted values.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "core/base/histogram.h"

TEST_CASE("percentiles are those of the values, to 2 per cent") {
  std::mt19937_64 random(11);
  for (const double power : {4.0, 16.0, 40.0, 62.0}) {
    weft::Histogram histogram;
    std::vector<std::int64_t> values;
    std::uniform_real_distribution<double> exponent(0.0, power);
    for (int i = 0; i < 5000; ++i) {
      values.push_back(static_cast<std::int64_t>(std::exp2(exponent(random))));
      histogram.add(values.back());
    }
    std::sort(values.begin(), values.end());
    for (const double share : {0.0001, 0.01, 0.5, 0.9, 0.99, 1.0}) {
      CAPTURE(power);
      CAPTURE(share);
      const auto at = static_cast<std::size_t>(std::ceil(share * 5000.0)) - 1;
      CHECK(histogram.percentile(share) ==
            doctest::Approx(static_cast<double>(values[at])).epsilon(0.02));
    }
  }
}

TEST_CASE("the ends of a histogram: nothing, zero, below zero and the largest number") {
  weft::Histogram histogram;
  CHECK(histogram.percentile(0.5) == 0);
  histogram.add(0);
  histogram.add(-7);
  CHECK(histogram.total() == 2);
  CHECK(histogram.percentile(1.0) == 0);
  histogram.add(INT64_MAX);
  CHECK(histogram.percentile(1.0) == doctest::Approx(static_cast<double>(INT64_MAX)).epsilon(0.02));
}
