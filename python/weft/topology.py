"""What is known of the machine: devices and how they are wired.

`probe()` looks at this machine, `Topology.preset` gives a known one. Nothing here needs a GPU.
"""

from __future__ import annotations

from typing import Any

from weft import _weft
from weft._config import setting
from weft._errors import invalid, named, whole_number

__all__ = ["Topology", "default_preset", "presets", "probe"]


class Topology:
    """Devices and the links between them; a value that never changes.

    >>> machine = Topology.preset("hgx-h200", devices=2)
    >>> machine.size, machine.simulated
    (2, True)
    >>> machine.matrix()[0][0]
    'X'
    """

    __slots__ = ("_native",)

    def __init__(self, native: _weft.Topology) -> None:
        """For weft itself; users call `probe()` or `Topology.preset()`."""
        self._native = native

    @classmethod
    def preset(cls, name: str, devices: int | None = None) -> Topology:
        """A known machine, as `devices` simulated devices of it; None: as many as it has.

        InvalidArgument for an unknown name (it says which there are), and for more devices than the
        machine has (it says how many). Only a fabric that was given no topology repeats the links
        of its preset for more.
        """
        if not isinstance(name, str):
            raise invalid(f"a preset is named by a text, not {name!r}")
        size = int(_weft.topology_preset_size(name))
        if devices is None:
            return cls(_weft.topology_preset(name, size))
        count = whole_number(devices)
        if count is None or not 1 <= count <= 64:
            raise invalid(f"devices must be a whole number from 1 to 64, not {devices!r}")
        if count > size:
            raise invalid(f'the preset "{name}" has {size} devices, and {count} were asked for')
        return cls(_weft.topology_preset(name, count))

    @property
    def name(self) -> str:
        """What the machine is called."""
        return str(self._native.name)

    @property
    def size(self) -> int:
        """How many devices it has; 0 on a machine without a GPU."""
        return int(self._native.size)

    @property
    def simulated(self) -> bool:
        """Whether it is a preset, whose figures are nominal, and not this machine."""
        return bool(self._native.simulated)

    @property
    def notes(self) -> list[str]:
        """What could not be found out, and why."""
        return list(self._native.notes)

    def matrix(self) -> list[list[str]]:
        """size x size cells as `nvidia-smi topo -m` prints them: "X", "NV18", "PIX", ... "SYS"."""
        return [list(row) for row in self._native.matrix()]

    def nodes(self) -> list[dict[str, Any]]:
        """One dict a device: device, name, numa, pci. What is not known is None."""
        return [dict(node) for node in self._native.nodes()]

    def peer_access(self) -> list[list[bool]]:
        """size x size: may the first device read and write the second's memory?"""
        return [list(row) for row in self._native.peer_access()]

    def to_json(self) -> str:
        """JSON, schema `weft.topology/1`. Seconds and bytes per second; unknown is null."""
        return str(self._native.to_json())

    def __repr__(self) -> str:
        kind = "simulated" if self.simulated else "this machine"
        return f"<weft.topology.Topology {self.name!r}, {self.size} devices, {kind}>"


def probe(measure: bool = False) -> Topology:
    """This machine's CUDA devices and links. Without a driver it is empty and its notes say why.

    measure: InvalidArgument if True, since measuring links is not there yet.

    >>> probe().size >= 0
    True
    """
    if measure:
        raise invalid("measure=True is not there yet; probe() gives what the driver says")
    return Topology(_weft.topology_probe())


def default_preset() -> str:
    """The machine that simulated devices stand for where nobody chose one: WEFT_SIM_TOPOLOGY.

    Raises ConfigError, which names the variable, if there is no such preset.

    >>> default_preset() in presets()
    True
    """
    name = str(setting("WEFT_SIM_TOPOLOGY"))
    if name not in presets():
        known = ", ".join(presets())
        message = f"WEFT_SIM_TOPOLOGY is '{name}', but must be the name of a preset: {known}"
        raise named(_weft.ConfigError(message), "config")
    return name


def presets() -> list[str]:
    """The names that `Topology.preset` takes.

    >>> "hgx-h200" in presets()
    True
    """
    return list(_weft.topology_presets())
