"""`deterministic`: whether sums may depend on more than the tensors.

Thread safety: one switch for the process, read by each call when it is made.
"""

from __future__ import annotations

from weft._errors import invalid

__all__ = ["deterministic", "is_deterministic"]

_switch = [False]


def deterministic(on: bool) -> bool:
    """Forbid, or allow again, algorithms whose bits are not those of a sum in rank order.

    Every algorithm gives the same bits on every rank and from run to run. With this on, a sum of
    floats also has the same bits under every algorithm, for every size and grouping: "ring" with
    more than two ranks, "halving_doubling" and "hierarchical" are InvalidArgument, which says so,
    and "auto" does not choose them. Returns what the switch was before.

    >>> import numpy as np, weft
    >>> was = weft.deterministic(True)
    >>> with weft.Fabric("sim:3") as fab:
    ...     work = fab.all_reduce([np.ones(4, np.float32) for _ in range(3)], async_op=True)
    ...     work.wait()
    >>> work.info["algorithm"], was, weft.deterministic(False)
    ('two_shot', False, True)
    """
    if not isinstance(on, bool):
        raise invalid(f"deterministic takes True or False, not {on!r}")
    before, _switch[0] = _switch[0], on
    return before


def is_deterministic() -> bool:
    """Whether `deterministic(True)` is in force."""
    return _switch[0]
