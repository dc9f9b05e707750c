"""The plugin `reporting`: what is written for people about runs: the page, the summary, comparisons, sweeps."""

from __future__ import annotations

from infimed_core import Reporter, hookimpl


@hookimpl
def infimed_reporters() -> dict[str, type[Reporter] | str]:
    """The page, and the summary in the terminal."""
    return {
        "html": "infimed_plugins.reporting.reporters:HtmlReport",
        "terminal": "infimed_plugins.reporting.reporters:TerminalSummary",
    }


@hookimpl
def infimed_defaults() -> dict[str, str]:
    """What shows a run in the terminal."""
    return {"reporter": "terminal"}


HEADINGS = {
    "Run": "run init check example convert sweep",
    "Look at data": "preview validate-scorer deidentify",
    "Evaluate and compare": "ask evaluate grade answers compare compare-solvers leaderboard rescore seven-set-mean"
    " mdt-agreement mdt-schema lm-eval-path",
    "Look at runs": "show report serve runs verify gc",
    "Checkpoints": "export card parity doctor",
    "Plugins": "plugins new schema",
}


@hookimpl
def infimed_headings() -> dict[str, str]:
    """Where ``infimed --help`` lists the commands, whichever plugin offers them."""
    return {name: heading for heading, names in HEADINGS.items() for name in names.split()}


@hookimpl
def infimed_commands() -> dict[str, str]:
    """Checking run files, listing what is installed, looking at runs, comparing them, and running variants."""
    return {
        "check": "infimed_plugins.reporting.check:check",
        "plugins": "infimed_plugins.reporting.catalogue:plugins",
        "schema": "infimed_plugins.reporting.catalogue:schema",
        "show": "infimed_plugins.reporting.commands:show",
        "report": "infimed_plugins.reporting.commands:report",
        "compare": "infimed_plugins.reporting.commands:compare",
        "leaderboard": "infimed_plugins.reporting.board.command:leaderboard",
        "answers": "infimed_plugins.reporting.commands:export",
        "serve": "infimed_plugins.reporting.commands:serve",
        "sweep": "infimed_plugins.reporting.commands:sweep",
    }
