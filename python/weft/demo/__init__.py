"""The main job: data-parallel training of a digit classifier, gradients summed by a fabric.

`run()` trains on scikit-learn's 1,797 images of handwritten digits over all ranks of a fabric,
checks the result against training without a fabric, and writes `trace.json`, `loss.png` and
`report.json`.
"""

from __future__ import annotations

from weft.demo.job import Settings, run

__all__ = ["Settings", "run"]
