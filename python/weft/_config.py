"""Values of the configuration table (environment variables WEFT_*), as the extension read them."""

from __future__ import annotations

from weft import _weft

__all__ = ["setting"]


def setting(name: str) -> object:
    """The value in force of a variable, e.g. `setting("WEFT_TIMEOUT")`. KeyError if there is none.

    >>> isinstance(float(str(setting("WEFT_TIMEOUT"))), float)
    True
    """
    for row in _weft.config():
        if row["name"] == name:
            return row["value"]
    raise KeyError(name)
