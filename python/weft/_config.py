"""Values of the configuration table (environment variables WEFT_*), as the extension read them."""

from __future__ import annotations

from weft import _weft
from weft._errors import named

__all__ = ["setting"]


def setting(name: str) -> object:
    """The value in force of a variable, e.g. `setting("WEFT_TIMEOUT")`. KeyError if there is none.

    Raises ConfigError, which names it, where the environment holds an unusable value of it.

    >>> isinstance(float(str(setting("WEFT_TIMEOUT"))), float)
    True
    """
    for row in _weft.config():
        if row["name"] == name:
            if row["problem"] is not None:
                raise named(_weft.ConfigError(row["problem"]), "config")
            return row["value"]
    raise KeyError(name)
