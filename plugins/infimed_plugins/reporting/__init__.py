"""The plugin `reporting`: what is written for people about runs: the page, the summary, comparisons, sweeps."""

from __future__ import annotations

from collections.abc import Callable

from infimed_core import Reporter, hookimpl


@hookimpl
def infimed_reporters() -> dict[str, type[Reporter] | str]:
    """The page, and the summary in the terminal."""
    return {
        "html": "infimed_plugins.reporting.reporters:HtmlReport",
        "terminal": "infimed_plugins.reporting.reporters:TerminalSummary",
    }


@hookimpl
def infimed_commands() -> dict[str, Callable[..., None]]:
    """Looking at runs, comparing them, and running variants of one file."""
    from infimed_plugins.reporting import commands

    return {
        "show": commands.show,
        "report": commands.report,
        "compare": commands.compare,
        "export": commands.export,
        "serve": commands.serve,
        "sweep": commands.sweep,
    }
