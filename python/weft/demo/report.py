"""What the job leaves behind: `report.json` (schema `weft.demo/1`) and `loss.png`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.demo.job import TOLERANCES, Outcome, Settings

if TYPE_CHECKING:
    from weft.fabric import Fabric

__all__ = ["ACCURACY_NEEDED", "make_report", "write"]

ACCURACY_NEEDED = 0.96


def make_report(fabric: Fabric, settings: Settings, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The report of the trainings in `outcomes`; bytes and times are the first one's.

    `comm_seconds` is what `times` says: on a simulated fabric predicted from its links, on GPUs
    measured. `comm_host_seconds` is measured on the host in either case.
    """
    first = outcomes[0]
    accuracy = min(outcome.accuracy for outcome in outcomes)
    matches = all(outcome.matches for outcome in outcomes)
    replicas = all(outcome.ours.replicas_equal for outcome in outcomes)
    return {
        "schema": "weft.demo/1",
        "passed": accuracy >= ACCURACY_NEEDED and matches and replicas,
        "accuracy": accuracy,
        "accuracy_needed": ACCURACY_NEEDED,
        "matches_single_rank": matches,
        "replicas_equal": replicas,
        "steps": len(first.ours.losses),
        "ranks": fabric.size,
        "devices": fabric.devices,
        "backend": fabric.backend,
        "machine": fabric.topology.name,
        "bytes_per_link": {link: count for link, count in first.stats["links"].items() if count},
        "comm_seconds": first.stats["seconds"],
        "times": "predicted" if first.stats["predicted"] else "measured",
        "comm_host_seconds": first.ours.communication_seconds,
        "final_loss": first.ours.losses[-1],
        "checks": {outcome.dtype: _check(outcome) for outcome in outcomes},
        "settings": {"epochs": settings.epochs, "batch": settings.batch, "seed": settings.seed},
    }


def _check(outcome: Outcome) -> dict[str, Any]:
    return {
        "accuracy": outcome.accuracy,
        "relative_difference": outcome.difference,
        "tolerance": TOLERANCES[outcome.dtype],
        "matches_single_rank": outcome.matches,
        "replicas_equal": outcome.ours.replicas_equal,
    }


def write(folder: Path, report: dict[str, Any], outcomes: Sequence[Outcome]) -> None:
    """Write `report.json` and `loss.png` into `folder`."""
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _draw(outcomes, report["ranks"], folder / "loss.png")


def _draw(outcomes: Sequence[Outcome], ranks: int, path: Path) -> None:
    """The loss of each step: thick for the fabric, dashed on top of it for a single rank."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5 * len(outcomes)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(outcomes), squeeze=False)[:, 0]
    for axes, outcome in zip(panels, outcomes, strict=True):
        steps = range(1, len(outcome.ours.losses) + 1)
        axes.plot(steps, outcome.ours.losses, color="0.75", linewidth=3, label=f"{ranks} ranks")
        axes.plot(steps, outcome.alone.losses, "k--", linewidth=0.7, label="a single rank")
        axes.set_yscale("log")
        axes.set_title(f"handwritten digits, {outcome.dtype}")
        axes.set_ylabel("cross-entropy of the step")
        axes.grid(alpha=0.3)
        axes.legend()
    panels[-1].set_xlabel("step")
    figure.savefig(path, dpi=120)
