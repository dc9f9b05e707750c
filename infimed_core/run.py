"""A run: the steps in their order, from the sources to the report."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from infimed_core.config import Plan
from infimed_core.curation import Curated, curate
from infimed_core.errors import InfimedError
from infimed_core.evaluation_steps import evaluate_models
from infimed_core.plugins import KINDS, Registry
from infimed_core.record import Artifact, RunDirectory, digest, new_record, now, write_atomically
from infimed_core.report import write_report
from infimed_core.steps import Outcome, RunState
from infimed_core.training import prepare_model, train_stages
from infimed_core.types import RunEvent, RunRecord


def run(plan: Plan, registry: Registry, listen: Callable[[RunEvent], None]) -> RunRecord:
    """Do every step of a checked run file; what stands from an earlier run of it is reused.

    Raises:
        InfimedError: something the user can mend; the record says ``failed`` and why.
        KeyboardInterrupt: stopped by the user; the record says ``interrupted``, the same command goes on from there.
    """
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise InfimedError("a run is one process in this version: start infimed-run itself, not through a launcher")
    section = plan.file.run
    path = Path(section.directory) / section.name
    used = _used_plugins(plan, registry)
    record = new_record(section.name, section.seed, plan.as_json(), used)
    directory = RunDirectory(path, record)
    directory.hold()
    told: set[str] = set()

    def tell(event: RunEvent) -> None:
        listen(event)
        for failure in registry.tell(event):
            if failure not in told:
                told.add(failure)
                listen(RunEvent(kind="message", step="", directory=str(path), payload={"text": failure}))

    try:
        directory.write()
        state = RunState(plan, registry, directory, tell, registry.media_loader())
        state.tell("run_started", "", {"name": section.name})
        _steps(state)
        directory.write(status="done", finished=now())
        _report(state)
        state.tell("run_finished", "", {"status": "done"})
    except KeyboardInterrupt:
        directory.write(status="interrupted", finished=now())
        raise
    except BaseException as error:
        directory.write(status="failed", finished=now(), error=f"{type(error).__name__}: {error}")
        raise
    finally:
        directory.release()
    return directory.record


def _used_plugins(plan: Plan, registry: Registry) -> tuple:  # type: ignore[type-arg]
    """The plugins whose components take part (or that the run file asks for), sorted by name."""
    classes = {type(component) for component in plan.components.values()}
    names = set(plan.file.run.plugins)
    for kind in KINDS:
        table = registry.components(kind)
        names.update(qualified.split("/", 1)[0] for qualified, component in table.items() if component in classes)
    names.update(qualified.split("/", 1)[0] for qualified in registry.components("modality"))
    return tuple(registry.plugins[name] for name in sorted(names) if name in registry.plugins)


def _steps(state: RunState) -> None:
    file = state.plan.file
    curated: Curated | None = curate(state) if file.data is not None else None
    if file.model is None:
        return
    base = prepare_model(state, curated)
    models = [base]
    if file.training is not None:
        assert curated is not None  # the run file was checked for it
        models += train_stages(state, curated, base)
    if file.evaluation is not None:
        evaluate_models(state, models)


def _report(state: RunState) -> None:
    if state.plan.file.report is None:
        return
    record = state.directory.record
    steps = [[step.name, step.artifact] for step in record.steps if step.name != "report"]
    made_from = digest("report", 1, steps, [row.model_dump(mode="json") for row in record.results])

    def work(directory: Path) -> Outcome:
        write_report(state.path)
        write_atomically(directory / "report.json", json.dumps({"page": "report.html"}))
        return Outcome(details={"page": str(state.path / "report.html")})

    if not (state.path / "report.html").exists():
        shutil.rmtree(Artifact(state.path / "artifacts", "report", made_from).directory, ignore_errors=True)
    state.step("report", made_from, work)
