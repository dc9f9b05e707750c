"""A run: the steps in their order, from the sources to the report."""

# The way of a sample: reader -> filter -> scorer -> selector (curate), each a step on rows
#   -> index of lengths -> stage plan: sampled, packed, ordered (plan)
#   -> decoded, encoded and joined into a row -> gradient -> checkpoint (train).
#
# The way of an answer: question -> solver -> answer cache -> model (models)
#   -> grade -> metrics with intervals -> baselines -> comparison (evaluate)
#   -> run.json, from which reporters write what people read (reporting, a plugin).

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from infimed_core.api.component import JsonObject
from infimed_core.api.models import LoadedModel, Model, TrainableModel
from infimed_core.api.reporting import RunEvent, RunRecord
from infimed_core.curate.curation import curate
from infimed_core.distributed.ranks import BEAT_SECONDS, Ranks, start_ranks
from infimed_core.distributed.worker_rank import run_worker, wait_for_file
from infimed_core.errors import InfimedError
from infimed_core.evaluate.evaluation import evaluate_models
from infimed_core.models.checkpoints import prepare_model
from infimed_core.models.model_pool import RunModelPool
from infimed_core.models.shared_model import answer_share
from infimed_core.plugins import KINDS, Registry
from infimed_core.runfile.plan import Plan
from infimed_core.store.artifacts import Artifact, digest
from infimed_core.store.curated import Curated
from infimed_core.store.files import write_atomically
from infimed_core.store.record import RunDirectory, new_record, now, read_record
from infimed_core.store.steps import Outcome, RunState, terminable
from infimed_core.train.training import train_along, train_stages
from infimed_plugins.reporting.page.page import write_report

FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
"""What the system says where nothing more can be written."""


def run(plan: Plan, registry: Registry, listen: Callable[[RunEvent], None]) -> RunRecord:
    """Do every step of a checked run file; what stands from an earlier run of it is reused.

    Under a launcher every process calls this: the first does the steps, the others help where it asks them to, and
    return the record as far as they know it.

    Raises:
        InfimedError: something the user can mend; the record says ``failed`` and why.
        KeyboardInterrupt: stopped by the user; the record says ``interrupted``, the same command goes on from there.
    """
    ranks = start_ranks()
    problem: str | None = None
    try:
        with terminable():
            return _lead(plan, registry, listen, ranks) if ranks.is_first else _follow(plan, registry, ranks)
    except BaseException as error:
        problem = "it was stopped" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
        raise
    finally:
        ranks.close(problem)


def _lead(plan: Plan, registry: Registry, listen: Callable[[RunEvent], None], ranks: Ranks) -> RunRecord:
    section = plan.file.run
    path = Path(section.directory) / section.name
    record = new_record(section.name, section.seed, plan.as_json(), _used_plugins(plan, registry))
    if ranks.size > 1:
        record.environment["ranks"] = ranks.size
    directory = RunDirectory(path, record)
    directory.hold()
    changed = _changed_plugins(path, record)
    told: set[str] = set()

    def tell(event: RunEvent) -> None:
        listen(event)
        for failure in registry.tell(event):
            if failure not in told:
                told.add(failure)
                listen(RunEvent(kind="message", step="", directory=str(path), payload={"text": failure}))

    ranks.last_words(lambda text: directory.write(status="failed", finished=now(), error=text))
    try:
        directory.write()
        state = _state(plan, registry, directory, tell, ranks)
        state.tell("run_started", "", {"name": section.name})
        for text in changed:
            state.tell("message", "", {"text": text})
        ranks.give({"kind": "begin", "plan": digest(record.config), "file": str((path / "run.json").absolute())})
        ranks.collect()
        _steps(state)
        directory.write(status="done", finished=now())
        _report(state)
        ranks.give({"kind": "end"})
        state.tell("run_finished", "", {"status": "done"})
    except BaseException as error:
        _fail(directory, error, ranks)
    finally:
        directory.release()
    return directory.record


def _fail(directory: RunDirectory, error: BaseException, ranks: Ranks) -> NoReturn:
    """Write how the run ended, and raise the error again: with its cause where that lies in another process."""
    told = error
    cause = ranks.cause(2 * BEAT_SECONDS) if ranks.size > 1 else None
    if cause is not None and cause != str(error):
        told = InfimedError(cause if isinstance(error, KeyboardInterrupt) else f"{error}; {cause}")
    elif isinstance(error, OSError) and error.errno in FULL:
        place = f"{error.filename}: " if error.filename else ""
        told = InfimedError(
            f"{place}{error.strerror}; what is finished is kept in {directory.path}: free disk space and run the same "
            "command again"
        )
    stopped = isinstance(told, KeyboardInterrupt)
    try:
        if stopped:
            directory.write(status="interrupted", finished=now())
        else:
            directory.write(status="failed", finished=now(), error=f"{type(told).__name__}: {told}")
            _report_failure(directory)
    except Exception:
        pass  # a full disk, say: the record stays as it was, and the error itself is told
    if told is error:
        raise error
    raise told from error


def _report_failure(directory: RunDirectory) -> None:
    """The page of a run that failed; where it cannot be written, the record says so beside the error."""
    record = directory.record
    if record.config.get("report") is None:
        return
    for stale in (directory.path / "artifacts").glob("report-*"):
        shutil.rmtree(stale)  # else the next run took the page for one of its own
    try:
        write_report(directory.path)
    except Exception as error:
        directory.write(error=f"{record.error}; report.html was not written: {type(error).__name__}: {error}")


def _follow(plan: Plan, registry: Registry, ranks: Ranks) -> RunRecord:
    section = plan.file.run
    record = new_record(section.name, section.seed, plan.as_json(), ())
    directory = RunDirectory(Path(section.directory) / section.name, record)
    state = _state(plan, registry, directory, lambda event: None, ranks)
    try:
        run_worker(ranks, _Worker(state).handlers)
    except BaseException as error:
        cause = ranks.cause(2 * BEAT_SECONDS)
        if cause is not None and cause != str(error):
            raise InfimedError(f"rank {ranks.rank}: {cause}") from error
        raise
    return record


def _state(
    plan: Plan, registry: Registry, directory: RunDirectory, tell: Callable[[RunEvent], None], ranks: Ranks
) -> RunState:
    media = registry.media_loader()
    return RunState(plan, registry, directory, tell, media, RunModelPool(plan, directory.path, media), ranks=ranks)


class _Worker:
    """What a process that is not the first does, task by task; one model is in its memory at a time."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._trained: TrainableModel | None = None
        self._opened: tuple[str, LoadedModel] | None = None
        self.handlers = {"begin": self._begin, "train": self._train, "answer": self._answer}

    def _begin(self, task: JsonObject) -> None:
        rank = self._state.ranks.rank
        if digest(self._state.directory.record.config) != task["plan"]:
            raise InfimedError(f"rank {rank} runs another run file or version than the first process")
        wait_for_file(Path(task["file"]), rank)

    def _train(self, task: JsonObject) -> None:
        self._opened = None
        self._trained = train_along(self._state, task, self._trained)

    def _answer(self, task: JsonObject) -> None:
        self._trained = None
        if self._opened is None or self._opened[0] != task["checkpoint"]:
            self._opened = None  # free the one before
            model: Model = self._state.plan.component(task["component"])
            self._opened = (task["checkpoint"], model.load(Path(task["checkpoint"])))
        answer_share(self._state, task, self._opened[1])


def _used_plugins(plan: Plan, registry: Registry) -> tuple:  # type: ignore[type-arg]
    """The plugins whose components take part (or that the run file asks for), sorted by name."""
    classes = {type(component) for component in plan.components.values()}
    names = set(plan.file.run.plugins)
    for kind in KINDS:
        table = registry.resolved(kind)
        names.update(qualified.split("/", 1)[0] for qualified, component in table.items() if component in classes)
    names.update(qualified.split("/", 1)[0] for qualified in registry.components("modality"))
    return tuple(registry.plugins[name] for name in sorted(names) if name in registry.plugins)


def _changed_plugins(path: Path, record: RunRecord) -> list[str]:
    """A line for each plugin of which the run that stands in the directory had another version."""
    try:
        before = {plugin.name: plugin.version for plugin in read_record(path).plugins}
    except InfimedError:
        return []
    return [
        f"plugin '{plugin.name}' was {before[plugin.name]} when this run was made and is {plugin.version} now; what "
        "stands is reused where settings, data and the component's own 'version' are the same"
        for plugin in record.plugins
        if before.get(plugin.name, plugin.version) != plugin.version
    ]


def _steps(state: RunState) -> None:
    file = state.plan.file
    curated: Curated | None = curate(state) if file.data is not None else None
    if file.model is None:
        return
    no_texts: tuple[str, ...] = ()
    texts, data_digest = (curated.texts, curated.digest) if curated else (lambda: iter(no_texts), None)
    base = prepare_model(state, texts, data_digest)
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
    inputs_digest = digest("report", 1, steps, [row.model_dump(mode="json") for row in record.results])

    def work(directory: Path) -> Outcome:
        write_report(state.path)
        write_atomically(directory / "report.json", json.dumps({"page": "report.html"}))
        return Outcome(details={"page": str(state.path / "report.html")})

    if not (state.path / "report.html").exists():
        shutil.rmtree(Artifact(state.path / "artifacts", "report", inputs_digest).directory, ignore_errors=True)
    state.step("report", inputs_digest, work)
