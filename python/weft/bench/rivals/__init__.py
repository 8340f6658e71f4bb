"""Implementations that weft is compared with. Each is imported, and loaded, only when asked for."""

from __future__ import annotations
