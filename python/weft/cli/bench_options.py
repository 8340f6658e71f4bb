"""What `weft bench` was asked for, checked before anything is opened or run."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weft.cli.output import STDOUT, check_target

if TYPE_CHECKING:
    from weft.bench.baseline import Baseline
    from weft.bench.cuda_driver import Driver
    from weft.bench.sweep import Plan
    from weft.fabric import Fabric

__all__ = ["Outputs", "Request", "read"]


@dataclass(frozen=True)
class Outputs:
    """Where results go; None: not written, "-": stdout."""

    json: str | None
    csv: str | None
    plot: str | None

    @property
    def table(self) -> bool:
        """Whether the table may have stdout."""
        return STDOUT not in (self.json, self.csv)


@dataclass(frozen=True)
class Request:
    """The options that need no device to be understood; `plan` adds what does."""

    collective: str
    kinds: tuple[tuple[str, str], ...]
    sizes: tuple[int, ...]
    rivals: tuple[str, ...]
    outputs: Outputs
    baseline: Baseline | None
    options: dict[str, Any]

    @property
    def explain(self) -> bool:
        return bool(self.options["explain"])

    @property
    def patience(self) -> float:
        """Seconds that a reply of another process may take: it may hold a whole round."""
        return max(4 * float(self.options["timeout"] or 30.0), 120.0)

    def plan(self, fabric: Fabric, driver: Driver | None) -> Plan:
        """The plan for `fabric`. UsageError where it, or this build, cannot do what was asked."""
        from weft.bench.calls import method_of
        from weft.bench.link import ordinals_of
        from weft.bench.load import Timing
        from weft.bench.sweep import Plan, cases

        if not hasattr(fabric, method_of(self.collective)):
            raise click.UsageError(f"Fabric.{method_of(self.collective)} is not in this build")
        if self.options["root"] >= fabric.size:
            raise click.UsageError(f"-r {self.options['root']}: there are {fabric.size} ranks")
        if self.collective == "p2p" and fabric.size < 2:
            raise click.UsageError("p2p needs two ranks")
        mode = self.options["mode"]
        simulated = fabric.backend == "sim"
        if mode is None:
            mode = "eager" if simulated else "graph"
        timing = Timing(
            mode=mode,
            iterations=self.options["iters"],
            samples=self.options["cudagraph"],
            warmup=self.options["warmup_iters"],
            hot=self.options["hot_l2"],
            l2_bytes=None
            if driver is None
            else max(driver.l2_bytes(ordinal) for ordinal in ordinals_of(fabric.devices)),
            blocking=simulated,
        )
        plan = Plan(
            collective=self.collective,
            kinds=self.kinds,
            sizes=self.sizes,
            ranks=fabric.size,
            rounds=self.options["rounds"] or (5 if self.rivals else 1),
            timing=timing,
            root=self.options["root"],
            check=bool(self.options["check"]),
        )
        if self.baseline and not self.baseline.covers(cases(plan), mode, fabric.devices):
            raise click.UsageError(
                f"--baseline {self.options['baseline']} has none of these cases (collective, "
                f"dtype, op, sizes, {fabric.size} ranks, {mode}): nothing could be compared"
            )
        return plan


def read(options: dict[str, Any]) -> Request:
    """Check the options. UsageError, before anything is opened, for what cannot be."""
    from weft.bench.collective import COLLECTIVES
    from weft.bench.sizes import size_steps

    outputs = Outputs(options["json_file"], options["csv_file"], options["plot"])
    if outputs.json == outputs.csv == STDOUT:
        raise click.UsageError("--json and --csv cannot both have stdout: give one a FILE")
    if options["collective"] not in COLLECTIVES:
        raise click.UsageError(
            f"{options['collective']!r} is not there; there is: {', '.join(COLLECTIVES)}"
        )
    try:
        sizes = size_steps(
            options["minbytes"], options["maxbytes"], options["stepfactor"], options["stepbytes"]
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if options["tensors"] == "torch" and importlib.util.find_spec("torch") is None:
        raise click.UsageError("--tensors torch needs PyTorch: pip install torch")
    if not 0 <= options["tolerance"] < math.inf:  # NaN is not, either, and would pass every row
        raise click.UsageError("--tolerance is a number of 0 or more")
    _check_files(outputs)
    return Request(
        collective=options["collective"],
        kinds=_kinds(options),
        sizes=tuple(sizes),
        rivals=_rivals(options["vs"]),
        outputs=outputs,
        baseline=_baseline(options["baseline"]),
        options=options,
    )


def _kinds(options: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Pairs of dtype and op; a collective that does not reduce has ops of its own."""
    from weft.bench.collective import COLLECTIVES
    from weft.bench.pattern import DTYPES, FLOATS, FROM_ML_DTYPES, OPS

    own = COLLECTIVES[options["collective"]].ops
    dtypes = _chosen("-d", options["datatype"], DTYPES)
    foreign = [name for name in dtypes if name in FROM_ML_DTYPES]
    if foreign and importlib.util.find_spec("ml_dtypes") is None:
        raise click.UsageError(f"{foreign[0]} needs ml_dtypes: pip install ml_dtypes")
    ops = own or _chosen("-o", options["op"], OPS)
    kinds = tuple((d, op) for d in dtypes for op in ops if op != "avg" or d in FLOATS)
    if not kinds:
        raise click.UsageError(f"there is no avg of {options['datatype']}, only of floats")
    return kinds


def _chosen(flag: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(known) if text == "all" else tuple(text.split(","))
    for name in chosen:
        if name not in known:
            raise click.UsageError(f"{flag} {name!r} is not one of: {', '.join(known)}, all")
    return chosen


def _rivals(given: Sequence[str]) -> tuple[str, ...]:
    from weft.bench.rivals.choose import NAMES

    names = tuple(dict.fromkeys(name for one in given for name in one.split(",")))
    for name in names:
        if name not in NAMES:
            raise click.UsageError(f"--vs {name!r} is not there; there is: {', '.join(NAMES)}")
    return names


def _baseline(path: str | None) -> Baseline | None:
    from weft.bench.baseline import Baseline

    try:
        return None if path is None else Baseline(path)
    except (ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"--baseline: {error}") from error


def _check_files(outputs: Outputs) -> None:
    files = [
        Path(f).resolve() for f in (outputs.json, outputs.csv, outputs.plot) if f != STDOUT and f
    ]
    for file in files:
        if files.count(file) > 1:
            raise click.UsageError(f"{file} would be written twice: give each output its own FILE")
    if outputs.plot is None:
        return
    check_target("draw", outputs.plot)
    if importlib.util.find_spec("matplotlib") is None:
        raise click.UsageError("--plot needs matplotlib: pip install matplotlib")
    from weft.bench.plot import can_draw

    try:
        can_draw(outputs.plot)
    except ValueError as error:
        raise click.UsageError(f"cannot draw {outputs.plot}: {error}") from error
