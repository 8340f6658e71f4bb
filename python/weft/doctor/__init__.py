"""Is this machine, and this process, fit for collectives? Named checks, each with how to mend it.

Nothing here needs a driver or a GPU: a machine without one is fine, since simulated devices run
everywhere, and what cannot be looked at is skipped with the reason.

    >>> from weft.doctor import examine
    >>> {check.status for check in examine()} <= {"PASS", "WARN", "FAIL", "SKIP"}
    True
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from weft.doctor import devices, process
from weft.doctor.check import Check
from weft.doctor.facts import Facts, gather

__all__ = ["Check", "Facts", "examine", "gather", "is_fit"]

_CHECKS: tuple[Callable[[Facts], Check], ...] = (
    devices.driver,
    devices.build,
    devices.toolkit,
    devices.visible_devices,
    devices.nvml,
    devices.mig,
    devices.peer_access,
    devices.nvlink,
    devices.iommu,
    devices.acs,
    devices.numa,
    process.launch_blocking,
    process.variables,
    process.weft_variables,
    process.frameworks,
    process.shared_memory,
    process.locked_memory,
)


def examine(facts: Facts | None = None) -> list[Check]:
    """Every check, in a fixed order. facts: what to judge by; None: those of this machine now.

    Gathering them moves bytes between every two CUDA devices, as `weft.topology.probe` does.
    """
    known = gather() if facts is None else facts
    return [check(known) for check in _CHECKS]


def is_fit(checks: Sequence[Check]) -> bool:
    """Whether none of the checks failed; warnings and skipped ones do not count."""
    return all(check.status != "FAIL" for check in checks)
