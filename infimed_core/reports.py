"""The last steps of a run: each reporter of the run file writes its files, also when the run failed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from infimed_core.api.reporting import Reporter
from infimed_core.contracts import checked_files, wrong
from infimed_core.named_files import digest_of_file
from infimed_core.records import Run
from infimed_core.runfile.plan import Plan
from infimed_core.runfile.sections import names_in_run
from infimed_core.store.artifacts import Artifact, digest
from infimed_core.store.files import write_atomically
from infimed_core.store.record import RunDirectory
from infimed_core.store.steps import Outcome, RunState

FILES = "report.json"
"""Names the files that a reporter wrote (relative to the run), inside its step's artifact."""
NOT_FOR_REPORTERS = ("answers", "artifacts", "cache", "checkpoints", "media", "state")
"""The folders of a run whose files a reporter may read and not change; run.json is another such file."""


def write_reports(state: RunState) -> None:
    """One step for each reporter; one whose files are there and up to date is not asked again."""
    record = state.directory.record
    steps = [[step.name, step.artifact] for step in record.steps if step.kind != "report"]
    results = [row.model_dump(mode="json") for row in record.results]
    for name, reporter in _reporters(state.plan):
        inputs_digest = digest("report", 2, steps, results, reporter.identity())

        def work(directory: Path, name: str = name, reporter: Reporter = reporter) -> Outcome:
            files = [os.path.relpath(file, state.path) for file in _write(reporter, state.directory)]
            write_atomically(directory / FILES, json.dumps({name: digest_of_file(state.path / name) for name in files}))
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
            _write(reporter, directory)
        except Exception as error:
            reason = f"the report '{name}' was not written: {type(error).__name__}: {error}"
            directory.write(error=f"{directory.record.error}; {reason}")


def _reporters(plan: Plan) -> list[tuple[str, Reporter]]:
    return [(name, plan.component(f"report.{index}")) for index, name in enumerate(names_in_run(plan.file.report))]


def _write(reporter: Reporter, directory: RunDirectory) -> list[Path]:
    try:
        return written_files(reporter, Run(directory.path, directory.record))
    except Exception:
        directory.write()  # run.json as it was, whatever the reporter has done to it
        raise


def written_files(reporter: Reporter, run: Run) -> list[Path]:
    """What a reporter writes about a run.

    Raises:
        ComponentError: it returned no list of files, or changed what the run is read from.
    """
    before = _states(run.directory)
    files = reporter.write(run, run.directory)
    after = _states(run.directory)
    changed = sorted(path for path, state in before.items() if after.get(path) != state)
    if changed:
        others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise wrong(reporter, "write", f"changed {changed[0]}{others} of the run; write to files of its own alone")
    return checked_files(reporter, files)


def _states(run: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file that reporters may not change, by its path within the run."""
    files = [run / "run.json"]
    for folder in NOT_FOR_REPORTERS:
        files += [Path(parent, name) for parent, _, names in os.walk(run / folder) for name in names]
    return {
        str(file.relative_to(run)): (state.st_size, state.st_mtime_ns)
        for file in files
        if file.exists() and (state := file.stat())
    }


def _are_there(run: Path, artifact: Artifact) -> bool:
    """Whether every file that the reporter wrote for this artifact is still as it was written."""
    try:
        names = dict(json.loads((artifact.directory / FILES).read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, TypeError):
        return False
    return all((run / name).exists() and digest_of_file(run / name) == known for name, known in names.items())
