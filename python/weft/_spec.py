"""Device specifications: what `Fabric(...)` is given, as a list of device names, one a rank.

Every specification that cannot be met is an `InvalidArgument` that says what there is; where it is
that of WEFT_DEVICES, a `ConfigError` that names the variable too. If it names a device that this
machine lacks, the error's `device` field holds that name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from weft import _weft
from weft._config import setting
from weft._errors import invalid, named

__all__ = ["DEFAULT_SIM_RANKS", "MAX_CUDA_RANKS", "MAX_SIM_RANKS", "resolve"]

DEFAULT_SIM_RANKS = 4
MAX_SIM_RANKS = 64
MAX_CUDA_RANKS = 16

_SIM = re.compile(r"sim:([0-9]{1,9})")
_CUDA = re.compile(r"cuda:([0-9]+(?:x[0-9]+)?(?:,[0-9]+(?:x[0-9]+)?)*)")
_NAME = re.compile(r"(sim|cuda)(?::([0-9]{1,9}))?")


def resolve(devices: str | _weft.Device | Sequence[object] | None = None) -> list[str]:
    """The devices of a fabric's ranks, e.g. `["cuda:0", "cuda:1"]`.

    devices: `"sim:8"` (8 simulated devices), `"cuda:0,1"` (these), `"cuda:0x4"` (4 ranks on device
    0), `"cuda:0x2,1x2"`, a list of names or `weft.Device`s (one a rank, repeats allowed; there
    `"sim:2"` is the device of that index, and `"sim"` is `"sim:0"`), a `weft.Device` (a list of
    one), or None: what WEFT_DEVICES says, else every CUDA device, else 4 simulated ones.

    >>> resolve("sim:2")
    ['sim:0', 'sim:1']
    >>> resolve(["sim:1", "sim:1", "sim"])
    ['sim:1', 'sim:1', 'sim:0']
    >>> resolve(_weft.Device("sim:2"))
    ['sim:2']
    """
    if devices is None:
        return _default()
    if isinstance(devices, str):
        return _from_text(devices)
    if isinstance(devices, _weft.Device):
        devices = [devices]
    if not isinstance(devices, Sequence):
        raise invalid(f"devices must be a text or a list, not {devices!r}; {_forms()}")
    return _from_list([str(device) for device in devices])


def _default() -> list[str]:
    configured = str(setting("WEFT_DEVICES"))
    if configured:
        try:
            return _from_text(configured)
        except _weft.InvalidArgument as error:
            message = f"WEFT_DEVICES is '{configured}': {error}"
            raise named(_weft.ConfigError(message), "config", device=error.device) from None
    count = _weft.cuda_device_count()
    if count == 0:
        return _from_text(f"sim:{DEFAULT_SIM_RANKS}")
    return [f"cuda:{i}" for i in range(min(count, MAX_CUDA_RANKS))]


def _from_text(text: str) -> list[str]:
    sim = _SIM.fullmatch(text)
    if sim:
        count = int(sim[1])
        if not 1 <= count <= MAX_SIM_RANKS:
            raise invalid(f'"{text}" asks for {count} simulated devices; {_forms()}')
        return [f"sim:{i}" for i in range(count)]
    cuda = _CUDA.fullmatch(text)
    if not cuda:
        raise invalid(f'"{text}" is not a device specification; {_forms()}')
    names: list[str] = []
    for part in cuda[1].split(","):
        ordinal, _, ranks = part.partition("x")
        repeats = int(ranks[:9]) if ranks else 1
        if not 1 <= repeats <= MAX_CUDA_RANKS:
            raise invalid(f'"{text}" asks for {ranks} ranks on device {ordinal}; {_forms()}')
        names += [f"cuda:{ordinal}"] * repeats
    return _checked(names)


def _from_list(names: list[str]) -> list[str]:
    if not names:
        raise invalid(f"the list of devices is empty; {_forms()}")
    full: list[str] = []
    for name in names:
        match = _NAME.fullmatch(name)
        if not match:
            raise invalid(f'"{name}" is not a device of a fabric; {_forms()}')
        full.append(f"{match[1]}:{int(match[2] or 0)}")
    if len({name.partition(":")[0] for name in full}) > 1:
        raise invalid(f"a fabric has simulated or CUDA devices, not both: {', '.join(full)}")
    return _checked(full)


def _checked(names: list[str]) -> list[str]:
    kind = names[0].partition(":")[0]
    there, most = (
        (MAX_SIM_RANKS, MAX_SIM_RANKS)
        if kind == "sim"
        else (_weft.cuda_device_count(), MAX_CUDA_RANKS)
    )
    for name in names:
        if int(name.partition(":")[2]) >= there:
            raise invalid(f'there is no device "{name}"; {_forms()}', device=name)
    if len(names) > most:
        raise invalid(f"{len(names)} ranks, and at most {most} are possible on {kind} devices")
    return names


def _forms() -> str:
    count = _weft.cuda_device_count()
    if count == 0:
        cuda = "this machine has no CUDA device"
    elif count == 1:
        cuda = 'this machine has one CUDA device ("cuda:0"; "cuda:0x4" is 4 ranks on it)'
    else:
        every = ",".join(str(i) for i in range(count))
        cuda = f'this machine has {count} CUDA devices ("cuda:{every}"; "cuda:0x4": 4 ranks on one)'
    return f'there are 64 simulated devices ("sim:1" to "sim:64" is a count), and {cuda}'
