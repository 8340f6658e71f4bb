"""What a topology says of an algorithm: `Topology.predict`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weft._errors import invalid, whole_number

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from weft import _weft

__all__ = ["Prediction", "predict"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """An all-reduce on a machine, as predicted, not measured.

    seconds: from start to end. lower_bound_seconds: less it cannot be with these transfers: what
    the busiest link, or port of a device, has to carry at its rate, and its latency once.
    bottleneck: the pair of devices, from and to, that loads that link or port most; None if nothing
    is moved. link_bytes: n x n int64, bytes from (row) to (column). utilisation: n x n float64, the
    share of `seconds` for which each link's bytes would keep it busy had it the port to itself.
    """

    schedule: str
    bytes: int
    seconds: float
    lower_bound_seconds: float
    bottleneck: tuple[int, int] | None
    link_bytes: npt.NDArray[np.int64]
    utilisation: npt.NDArray[np.float64]

    @property
    def bytes_per_second(self) -> float | None:
        """The algorithm bandwidth, `bytes` over `seconds`; None if it takes no time."""
        return self.bytes / self.seconds if self.seconds > 0 else None


def predict(
    native: _weft.Topology, schedule: str, bytes: int, group_size: int | None
) -> Prediction:
    """See `Topology.predict`."""
    import numpy as np

    if not isinstance(schedule, str):
        raise invalid(f"a schedule is named by a text, not {schedule!r}")
    size = whole_number(bytes)
    if size is None or not 0 <= size < 1 << 60:
        raise invalid(f"bytes must be a whole number from 0, not {bytes!r}")
    group = 0 if group_size is None else whole_number(group_size)
    if group is None or not 0 <= group < 1 << 30 or (group == 0 and group_size is not None):
        raise invalid(f"group_size must be a whole number from 1 or None, not {group_size!r}")
    if group and schedule != "hierarchical":
        raise invalid(f'group_size= is for "hierarchical", not "{schedule}"')
    row = native.predict(schedule, size, group)
    n = int(native.size)
    return Prediction(
        schedule=schedule,
        bytes=size,
        seconds=float(row["seconds"]),
        lower_bound_seconds=float(row["lower_bound_seconds"]),
        bottleneck=row["bottleneck"],
        link_bytes=np.frombuffer(row["link_bytes"], np.int64).reshape(n, n),
        utilisation=np.frombuffer(row["utilisation"], np.float64).reshape(n, n),
    )
