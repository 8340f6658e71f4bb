"""Checks of this process: variables that are known to hang or slow collectives, limits."""

from __future__ import annotations

from weft.doctor.check import Check, failed, passed, skipped, warned
from weft.doctor.facts import Facts

__all__ = [
    "frameworks",
    "launch_blocking",
    "locked_memory",
    "shared_memory",
    "variables",
    "weft_variables",
]

_OFF = ("", "0")
_LEAST_SHARED = 1 << 30
_LEAST_LOCKED = 64 << 20


def _is_on(facts: Facts, name: str) -> bool:
    return facts.environ.get(name, "").strip() not in _OFF


def launch_blocking(facts: Facts) -> Check:
    """Does every launch wait for its end?"""
    name = "launch blocking"
    if not _is_on(facts, "CUDA_LAUNCH_BLOCKING"):
        return passed(name, "launches do not wait for their ends")
    return failed(
        name,
        "CUDA_LAUNCH_BLOCKING is set: a launch waits for its end, and the kernel waits for peers "
        "that are launched after it, so a collective of several devices times out",
        "unset CUDA_LAUNCH_BLOCKING",
    )


def variables(facts: Facts) -> Check:
    """Variables of CUDA that are known to hang, break or slow collectives of one process."""
    name = "cuda variables"
    if _is_on(facts, "CUDA_FORCE_PTX_JIT"):
        return failed(
            name, "CUDA_FORCE_PTX_JIT is set, and weft's kernels hold no PTX: none of them loads",
            "unset CUDA_FORCE_PTX_JIT",
        )  # fmt: skip
    if facts.environ.get("CUDA_DEVICE_MAX_CONNECTIONS", "").strip() == "1":
        return warned(
            name,
            "CUDA_DEVICE_MAX_CONNECTIONS is 1: all streams of a device share one queue, and "
            "collectives wait for kernels that they have nothing to do with",
            "unset it, or set it to 8 or more",
        )
    share = facts.environ.get("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "").strip()
    if share not in ("", "100"):
        return warned(
            name,
            f"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE is {share}: ranks that share a device may not fit "
            "on it together",
            "unset it, or run fewer ranks a device",
        )
    if _is_on(facts, "CUDA_INJECTION64_PATH"):
        return warned(
            name,
            "a tool is injected (CUDA_INJECTION64_PATH): profilers that replay single kernels "
            "hang on ones that wait for peers",
            "profile with a timeline, or replay whole ranges",
        )
    return passed(name, "none is set that is known to harm")


def weft_variables(facts: Facts) -> Check:
    """Are the WEFT_* variables of the environment usable, and known?"""
    name = "weft variables"
    problems = [str(row["problem"]) for row in facts.config if row.get("problem")]
    if problems:
        return failed(name, problems[0], "weft config lists what each variable may be")
    if facts.unknown_variables:
        return warned(name, facts.unknown_variables[0], "weft config lists the variables there are")
    return passed(name, "all are known and usable")


def frameworks(facts: Facts) -> Check:
    """PyTorch and NCCL, and variables that keep NCCL from the links."""
    name = "torch and nccl"
    found = [
        f"{package} {version}" for package, version in facts.packages.items()
        if package == "torch" or "nccl" in package
    ]  # fmt: skip
    if not found:
        return skipped(name, "neither is installed")
    harmful = [
        variable
        for variable in ("NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE", "NCCL_CUMEM_ENABLE")
        if (_is_on(facts, variable) if "DISABLE" in variable else
            facts.environ.get(variable, "").strip() == "0")
    ]  # fmt: skip
    if facts.environ.get("NCCL_P2P_LEVEL", "").strip().upper() in ("LOC", "0"):
        harmful.append("NCCL_P2P_LEVEL")
    if harmful:
        return warned(
            name, f"{', '.join(found)}; {', '.join(harmful)} keep NCCL from its best paths",
            "unset them, or comparisons with NCCL say nothing; weft does not read them",
        )  # fmt: skip
    return passed(name, ", ".join(found))


def shared_memory(facts: Facts) -> Check:
    """Is there room in /dev/shm, which processes of PyTorch and NCCL share memory by?"""
    name = "shared memory"
    free = facts.shared_memory_free
    if free is None:
        return skipped(name, "there is no /dev/shm; weft does not need it")
    if free < _LEAST_SHARED:
        return warned(
            name,
            f"/dev/shm has {free >> 20} MiB left: too little for data loaders and NCCL between "
            "processes, which share memory there; weft does not",
            "in a container: --shm-size=8g or --ipc=host",
        )
    return passed(name, f"/dev/shm has {free >> 20} MiB left")


def locked_memory(facts: Facts) -> Check:
    """May memory be locked, as network adapters need it?"""
    name = "locked memory"
    limit = facts.locked_memory
    if limit is None:
        return skipped(name, "the system does not tell")
    if 0 <= limit < _LEAST_LOCKED:
        return warned(
            name,
            f"ulimit -l is {limit >> 10} KiB: network adapters cannot register their buffers; "
            "CUDA's own pinned memory is not limited by it",
            "ulimit -l unlimited; in a container: --ulimit memlock=-1",
        )
    return passed(name, "no limit" if limit < 0 else f"ulimit -l is {limit >> 10} KiB")
