"""The command line `weft`. Data goes to stdout, everything else to stderr.

Exit codes: 0 ok, 1 wrong result or a failed operation, 2 usage (also a FILE that cannot be written,
said before anything is run), 3 below the baseline, 4 a named device is missing, 5 timeout, 6 the
output could not be written (a full disk), 130 interrupted. A reader that went away, and a stdout
that the caller closed, want no more data: that is no error.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and exit."""
    from weft.cli.app import app

    app(prog_name="weft")
