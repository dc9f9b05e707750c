"""The last steps of a run: each reporter of the run file writes its files, also when the run failed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from infimed_core.api.reporting import Reporter
from infimed_core.contracts import wrong
from infimed_core.records import Run
from infimed_core.runfile.plan import Plan
from infimed_core.runfile.sections import names_in_run
from infimed_core.store.artifacts import Artifact, digest
from infimed_core.store.files import write_atomically
from infimed_core.store.record import RunDirectory
from infimed_core.store.steps import Outcome, RunState

FILES = "report.json"
"""Names the files that a reporter wrote (relative to the run), inside its step's artifact."""


def write_reports(state: RunState) -> None:
    """One step for each reporter; one whose files are there and up to date is not asked again."""
    record = state.directory.record
    steps = [[step.name, step.artifact] for step in record.steps if step.kind != "report"]
    results = [row.model_dump(mode="json") for row in record.results]
    for name, reporter in _reporters(state.plan):
        inputs_digest = digest("report", 2, steps, results, reporter.identity())

        def work(directory: Path, name: str = name, reporter: Reporter = reporter) -> Outcome:
            files = [os.path.relpath(file, state.path) for file in _write(name, reporter, state.directory)]
            write_atomically(directory / FILES, json.dumps(files))
            return Outcome(details={"files": files})

        title = f"report-{name}"
        artifact = Artifact(state.path / "artifacts", title, inputs_digest)
        if not _are_there(state.path, artifact):
            shutil.rmtree(artifact.directory, ignore_errors=True)
        state.step(title, inputs_digest, work, kind="report", subject={"reporter": name})


def report_failure(directory: RunDirectory, plan: Plan) -> None:
    """The reports of a run that failed; where one cannot be written, the record says so beside the error."""
    for name, reporter in _reporters(plan):
        for stale in (directory.path / "artifacts").glob(f"report-{name}-*"):
            shutil.rmtree(stale)  # else the next run took the files for its own
        try:
            _write(name, reporter, directory)
        except Exception as error:
            told = f"the report '{name}' was not written: {type(error).__name__}: {error}"
            directory.write(error=f"{directory.record.error}; {told}")


def _reporters(plan: Plan) -> list[tuple[str, Reporter]]:
    return [(name, plan.component(f"report.{index}")) for index, name in enumerate(names_in_run(plan.file.report))]


def _write(name: str, reporter: Reporter, directory: RunDirectory) -> Sequence[Path]:
    files = reporter.write(Run(directory.path, directory.record), directory.path)
    if not isinstance(files, list | tuple) or not all(isinstance(file, Path) and file.exists() for file in files):
        raise wrong(reporter, "write", f"must return the files that it has written, not {files!r}")
    return files


def _are_there(run: Path, artifact: Artifact) -> bool:
    """Whether every file that the reporter wrote for this artifact still exists."""
    try:
        names = json.loads((artifact.directory / FILES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all((run / name).exists() for name in names)
