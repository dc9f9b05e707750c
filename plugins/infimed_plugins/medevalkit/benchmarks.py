"""One benchmark component for each data card."""

from __future__ import annotations

from infimed_core import Benchmark


def table() -> dict[str, type[Benchmark]]:
    """Component name to class."""
    return {}
