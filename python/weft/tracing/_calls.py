"""Verdicts on calls: the rank that called last, where ranks call one by one, each for itself.

Nothing is launched before every rank has called, so that no chunk waits for such a rank: what is
lost shows only in the times of the calls, which are all of the host's clock.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from weft.tracing._rows import NO_OPERATION, NOBODY, Operation, Trace

__all__ = ["LEAST", "late_calls"]

LEAST = 100.0  # us after the others: less is what threads differ by
MUCH = 2.0  # times what the others differ by


def late_calls(trace: Trace) -> tuple[int, list[dict[str, Any]]]:
    """How many operations of the trace their ranks called one by one, and who held up which.

    A verdict has op_id, algorithm, rank, cause ("late call"), waited_us (how long the others had to
    wait for it after the last of them had called, all together) and delay_us (one of them); step
    and link are None.
    """
    by_operation: dict[int, list[Operation]] = defaultdict(list)
    for one in trace.operations:
        if one.called_ns and one.op_id != NO_OPERATION and one.rank != NOBODY:
            by_operation[one.op_id].append(one)
    examined, verdicts = 0, []
    for op_id, ranks in by_operation.items():
        called = sorted(ranks, key=lambda one: one.called_ns)
        if called[0].called_ns == called[-1].called_ns:
            continue
        examined += 1
        last, before = called[-1], called[-2]
        delay = (last.called_ns - before.called_ns) / 1e3
        spread = (before.called_ns - called[0].called_ns) / 1e3
        if delay < max(LEAST, MUCH * spread):
            continue
        verdicts.append(
            {
                "op_id": op_id,
                "algorithm": last.algorithm,
                "rank": last.rank,
                "cause": "late call",
                "step": None,
                "link": None,
                "waited_us": delay * (len(called) - 1),
                "delay_us": delay,
            }
        )
    return examined, verdicts
