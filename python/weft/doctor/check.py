"""What a check of the doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Check", "Status", "failed", "passed", "skipped", "warned"]

Status = Literal["PASS", "WARN", "FAIL", "SKIP"]


@dataclass(frozen=True)
class Check:
    """name: of the check, one word or two. why: what was found. hint: how to mend it, or None."""

    name: str
    status: Status
    why: str
    hint: str | None = None


def passed(name: str, why: str) -> Check:
    """All is well."""
    return Check(name, "PASS", why)


def warned(name: str, why: str, hint: str) -> Check:
    """It works, but slowly, or not everywhere."""
    return Check(name, "WARN", why, hint)


def failed(name: str, why: str, hint: str) -> Check:
    """It will not work, or must not be relied on."""
    return Check(name, "FAIL", why, hint)


def skipped(name: str, why: str) -> Check:
    """It could not be looked at, or does not apply here."""
    return Check(name, "SKIP", why)
