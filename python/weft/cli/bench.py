"""`weft bench COLLECTIVE`: flags and columns as nccl-tests has them."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from weft.cli.app import ExitCode
from weft.cli.bench_options import Request, read
from weft.cli.output import file_option, note, write_data
from weft.cli.progress import progress

if TYPE_CHECKING:
    from weft.bench.cuda_driver import Driver
    from weft.bench.link import LinkRates
    from weft.bench.row import Row
    from weft.bench.runner import Runner
    from weft.bench.sweep import Plan
    from weft.fabric import Fabric

__all__ = ["command"]


class _Size(click.ParamType[int]):
    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        from weft.bench.sizes import parse_size

        try:
            return value if isinstance(value, int) else parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_POSITIVE = click.IntRange(min=1)
_NATURAL = click.IntRange(min=0)


@click.command(
    "bench",
    epilog="Sizes take K, M and G, powers of 1024; rates are in 10^9 B/s. Exit codes: 1 wrong "
    "elements, 2 usage, 3 slower than the baseline, 4 a device is missing, 5 timeout, "
    "6 output that cannot be written, 130 interrupted.",
)
@click.argument("collective")
@click.option("-b", "--minbytes", type=_Size(), default="8", show_default=True)
@click.option("-e", "--maxbytes", type=_Size(), default="32M", show_default=True)
@click.option("-f", "--stepfactor", type=click.IntRange(min=2), default=2, show_default=True)
@click.option("-i", "--stepbytes", type=_Size(), help="Add it from size to size, instead of -f.")
@click.option("-d", "--datatype", default="float32", show_default=True, help="Or all, or a,b,c.")
@click.option("-o", "--op", default="sum", show_default=True, help="sum avg min max prod; all.")
@click.option("-r", "--root", type=_NATURAL, default=0, show_default=True)
@click.option("-n", "--iters", type=_POSITIVE, help="Operations a sample [20, fewer when large].")
@click.option("-G", "--cudagraph", type=_POSITIVE, help="Samples a round [20, fewer when large].")
@click.option("-w", "--warmup_iters", type=_NATURAL, default=5, show_default=True)
@click.option("-c", "--check", type=click.IntRange(0, 1), default=1, show_default=True)
@click.option("--rounds", type=_POSITIVE, help="Of all in turn [5 with --vs, else 1].")
@click.option(
    "--mode",
    type=click.Choice(["graph", "eager"]),
    help="Replayed graphs, or calls [graph on GPUs where this build has it, else eager].",
)
@click.option(
    "--tensors",
    type=click.Choice(["weft", "torch"]),
    default="weft",
    show_default=True,
    help="What weft is given: its own tensors (NumPy arrays on simulated devices), or torch's.",
)
@click.option("--hot-l2", is_flag=True, help="One set of buffers, which may stay in the L2.")
@click.option("--devices", help="sim:4, cuda:0,1, cuda:0x4; else all GPUs or 4 simulated devices.")
@click.option("--algo", default="auto", show_default=True)
@click.option("--max-blocks", type=_POSITIVE, help="The most thread blocks a rank.")
@click.option("--scratch", type=_Size(), help="Bytes of scratch a rank.")
@click.option("-T", "--timeout", type=float, help="Seconds an operation may take [WEFT_TIMEOUT].")
@click.option("--vs", multiple=True, help="Also time: nccl,nccl-sym,torch,torch-nccl,mpi.")
@click.option("--nccl", metavar="PATH", help="libnccl.so.2 [of the package nvidia-nccl].")
@click.option("--baseline", metavar="FILE", help="A record; exit with 3 where weft is slower.")
@click.option("--tolerance", type=float, default=5.0, show_default=True, help="Per cent of it.")
@click.option("--explain", is_flag=True, help="Say what the columns mean and what bounds a row.")
@file_option("--json", "the record (schema weft.bench/1)")
@file_option("--csv", "the rows as CSV")
@click.option("--plot", metavar="FILE", help="Draw bus bandwidth over size into FILE.")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Time a collective, check its results and print a table.

    COLLECTIVE: all_reduce, reduce_scatter, all_gather, broadcast, reduce, all_to_all, scatter,
    gather, send_recv (each rank to the next) or p2p (rank 0 to 1, and both ways).

    Every implementation takes its turn in every round. On simulated devices times are those of the
    simulator on this host; what the simulated links would take stands apart, as predicted.
    """
    from weft.bench.runner import RivalUnavailableError
    from weft.fabric import Fabric

    request = read(options)
    rows: list[Row] = []
    record: dict[str, Any] = {}
    try:
        with ExitStack() as stack:
            fabric = stack.enter_context(Fabric(options["devices"], **_fabric_options(options)))
            _run(request, fabric, options, stack, rows, record)
    except (Exception, KeyboardInterrupt) as error:
        if rows:  # what was measured until then is not lost, and not taken for the whole
            note(f"weft: ended early, after {len(rows)} rows")
            _write(rows, record | {"incomplete": f"{type(error).__name__}: {error}"}, request)
        if isinstance(error, RivalUnavailableError):
            raise click.UsageError(str(error)) from error
        raise
    _write(rows, record, request)
    if any(row.wrong for row in rows):
        ctx.exit(ExitCode.WRONG)
    if request.baseline is not None:
        slower = request.baseline.slower(rows, options["tolerance"])
        for line in slower:
            note(f"weft: below the baseline: {line}")
        if slower:
            ctx.exit(ExitCode.BELOW_BASELINE)


def _fabric_options(options: dict[str, Any]) -> dict[str, Any]:
    from weft.fabric import Fabric

    if options["scratch"] is None:
        return {}
    if "scratch" not in inspect.signature(Fabric.__init__).parameters:
        raise click.UsageError("--scratch: Fabric has no scratch= in this build")
    return {"scratch": options["scratch"]}


def _run(
    request: Request,
    fabric: Fabric,
    options: dict[str, Any],
    stack: ExitStack,
    rows: list[Row],
    record: dict[str, Any],
) -> None:
    """Fill `rows`, and `record` with what a record has beside them."""
    from weft.bench.cuda_driver import open_driver
    from weft.bench.link import measure_fabric, peak_gbps
    from weft.bench.rivals import choose

    simulated = fabric.backend == "sim"
    driver = None if simulated else open_driver()
    plan = request.plan(fabric, driver)
    choose.check(request.rivals, plan, fabric.backend, fabric.devices, options["nccl"])
    _check_memory(plan, fabric, 1 + len(request.rivals))
    link: LinkRates | None = None
    runners = [_weft_runner(fabric, driver, options)]
    stack.callback(runners[0].close)
    if driver is not None:
        stack.callback(driver.close)
        driver.timeout = (options["timeout"] or 30.0) * 2
        link = measure_fabric(driver, fabric)
        record |= {"link": link, "cuda": driver.version()}
    others, versions = choose.start(
        request.rivals, plan, fabric, driver, options["nccl"], request.patience, stack
    )
    record["versions"] = versions
    _sweep(
        plan,
        [*runners, *others],
        request,
        lambda case: None if link is None else peak_gbps(link, case),
        rows,
    )


def _weft_runner(fabric: Fabric, driver: Driver | None, options: dict[str, Any]) -> Runner:
    from weft.bench.link import ordinals_of
    from weft.bench.weft_runner import WeftRunner

    arguments: dict[str, Any] = {
        "algorithm": None if options["algo"] == "auto" else options["algo"],
        "max_blocks": options["max_blocks"],
        "timeout": options["timeout"],
    }
    names = ["cpu"] * fabric.size
    if driver is not None:
        names, ordinals, there = fabric.devices, ordinals_of(fabric.devices), driver
        arguments["flush"] = lambda size: there.flush(ordinals, size)
        arguments["synchronize"] = lambda: there.synchronize(ordinals)
    if options["tensors"] == "torch":
        from weft.bench.torch_memory import TorchMemory

        wait = arguments.get("synchronize", lambda: None)
        arguments["memory"] = TorchMemory(names, wait)
    return WeftRunner(fabric, **arguments)


def _sweep(
    plan: Plan, runners: Sequence[Runner], request: Request, peak: Any, rows: list[Row]
) -> None:
    """Fill `rows`, printing lines as they come; the header only once there is one."""
    from weft.bench.collective import COLLECTIVES
    from weft.bench.explain import explain
    from weft.bench.sweep import cases, sweep
    from weft.bench.table import header, line, summary

    table = request.outputs.table
    both = COLLECTIVES[plan.collective].in_place
    waiting: dict[str, Row] = {}
    title = f"{plan.collective} on {plan.ranks} ranks"
    with progress(title, len(cases(plan)) * len(runners)) as advance:
        for row in sweep(plan, runners, peak):
            if table and not rows:
                click.echo(header(row))
            rows.append(row)
            if both and not row.in_place:
                waiting[row.impl] = row
            elif table:
                click.echo(line(waiting.pop(row.impl), row) if both else line(row, None))
            advance(1, f"{row.impl} {row.bytes} B")
    say = click.echo if table else note
    say(summary(rows))
    if request.explain:
        say(explain(rows))


def _check_memory(plan: Plan, fabric: Fabric, implementations: int) -> None:
    from weft.bench.sweep import available_memory, largest_memory

    there = available_memory() if fabric.backend == "sim" else None
    need = largest_memory(plan, implementations)
    if there is not None and need > there:
        raise click.UsageError(
            f"the largest size needs about {need / 1e9:.1f} GB of host memory and "
            f"{there / 1e9:.1f} GB are free; choose a smaller -e"
        )


def _write(rows: Sequence[Row], record: dict[str, Any], request: Request) -> None:
    outputs = request.outputs
    if outputs.json is not None:
        from weft.bench.record import make_record

        whole = make_record(["weft", *sys.argv[1:]], rows, **record)
        write_data(outputs.json, json.dumps(whole, indent=2))
    if outputs.csv is not None:
        from weft.bench.table import csv_text

        write_data(outputs.csv, csv_text(rows))
    if outputs.plot is not None:
        from weft.bench.plot import draw

        try:
            draw(rows, outputs.plot)
        except (OSError, ValueError) as error:
            raise click.UsageError(f"cannot draw {outputs.plot}: {error}") from error
        note(f"wrote {outputs.plot}")
