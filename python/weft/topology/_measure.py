"""Probing this machine: found, verified, measured; and what its NVLinks have counted."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from weft import _weft
from weft._errors import invalid, named

__all__ = ["Progress", "counters", "probe_native"]

#: Called with the share done, 0.0 to 1.0, and what comes next. What it raises ends the measurement.
Progress = Callable[[float, str], None]


def probe_native(
    measure: bool, verify: bool, progress: Progress | None, budget: float | None
) -> _weft.Topology:
    """What `weft.topology.probe` returns, as the native class."""
    if measure and not verify:
        raise invalid("only verified pairs are measured: measure=True goes with verify=True")
    if budget is not None and not (
        isinstance(budget, (int, float)) and 0 < budget <= 3600  # false for NaN too
    ):
        raise invalid(f"budget must be seconds, above 0 and at most 3600, not {budget!r}")
    if progress is not None and not callable(progress):
        raise invalid(f"progress must be callable, not {progress!r}")
    blocking = os.environ.get("CUDA_LAUNCH_BLOCKING", "")
    if measure and blocking not in ("", "0"):
        words = (
            f"CUDA_LAUNCH_BLOCKING is '{blocking}': every launch would wait for its end, and "
            "nothing can be timed; unset it to measure"
        )
        raise named(_weft.ConfigError(words), "config")
    found = _weft.topology_probe(bool(verify))
    if not measure:
        return found
    return _weft.topology_measure(found, 0.0 if budget is None else float(budget), progress)


def counters() -> dict[str, Any]:
    """What the driver has counted on each NVLink of this machine's CUDA devices. Never raises.

    seconds: when, by a steady clock. links: a dict each with device (index), link (NVML's number),
    active, sent_bytes, received_bytes, replay_errors, recovery_errors, crc_errors; None for what is
    not told. notes: what is missing, and why. Virtual machines often mask the throughput: it is
    None, or 0 on links that move data.

    >>> sorted(counters())
    ['links', 'notes', 'seconds']
    """
    return dict(_weft.topology_counters())
