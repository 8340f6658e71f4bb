"""The tensors of recorded operations, which the extension only borrows.

Whether an operation was recorded, and for which capture, is known from the operation alone: what
its caller finds in any attribute may be of a capture that has begun or ended since. A capture has a
token, made before the fabric records anything under it.

Thread safety: everything here may be used from any thread.
"""

from __future__ import annotations

from itertools import count
from weakref import WeakValueDictionary

__all__ = ["Held", "hold", "new_token"]


class Held(list[object]):
    """What one recording needs; lives as long as its `Graph`, and as a replay under way."""


_tokens = count(1)
_recordings: WeakValueDictionary[int, Held] = WeakValueDictionary()


def new_token(held: Held) -> int:
    """A token, by which `hold` finds `held` for as long as it lives."""
    token = next(_tokens)
    _recordings[token] = held
    return token


def hold(token: int, tensors: object) -> None:
    """Keep `tensors` with the recording of that token; of one that is gone, nobody needs them."""
    held = _recordings.get(token)
    if held is not None:
        held.append(tensors)
