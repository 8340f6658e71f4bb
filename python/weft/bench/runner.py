"""What times one implementation: the interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from weft.bench.collective import Case
    from weft.bench.load import Load

__all__ = ["RivalUnavailableError", "Runner"]


class RivalUnavailableError(Exception):
    """An implementation to compare with is missing, or lacks what was asked for; says what."""


class Runner(Protocol):
    """Times rounds of one case at a time, then checks the same buffers, timed as they were."""

    impl: str

    def prepare(self, case: Case, load: Load) -> None:
        """Make room for `case` and warm up."""

    def round(self) -> list[float]:
        """One round: for each sample, seconds of one operation on the slowest rank."""

    def wrong(self) -> int:
        """Wrong elements, over all ranks and buffers, of one more sample on fresh data."""

    def facts(self) -> dict[str, Any]:
        """The fields of a row that only the implementation knows."""

    def close(self) -> None:
        """Give everything back."""
