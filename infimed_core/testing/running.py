"""A run in a plugin's tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infimed_core.api.reporting import RunEvent, RunRecord
from infimed_core.plugins import load_plugins


def run(document: dict[str, Any], directory: Path, events: list[RunEvent] | None = None) -> RunRecord:
    """Do a run file given as a dict, with the installed plugins; the run's directory is made in ``directory``."""
    from infimed_core.run import run as do_run
    from infimed_core.runfile.loading import load_run_file

    file = directory / "run.yaml"
    document = {**document, "run": {"directory": str(directory / "runs"), **document["run"]}}
    file.write_text(json.dumps(document), encoding="utf-8")
    registry = load_plugins()
    listen = (lambda event: None) if events is None else events.append
    return do_run(load_run_file(file, registry), registry, listen)
