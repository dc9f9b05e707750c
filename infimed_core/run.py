"""A run: the steps in their order, from the sources to the reports."""

# The way of a sample: reader -> filter -> scorer -> selector (curate), each a step on rows
#   -> index of lengths -> stage plan: sampled, packed, ordered (plan)
#   -> decoded, encoded and joined into a row -> gradient -> checkpoint (train).
#
# The way of an answer: question -> solver -> answer cache -> model (models)
#   -> grade -> metrics with intervals -> baselines -> comparison (evaluate)
#   -> run.json, from which reporters write what people read (reporting, a plugin).

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from infimed_core.api.component import JsonObject
from infimed_core.api.models import LoadedModel, Model, TrainableModel
from infimed_core.api.reporting import RECORD_FORMAT, PluginInfo, RunEvent, RunRecord
from infimed_core.contracts import FULL, raised_in
from infimed_core.curate.curation import curate
from infimed_core.distributed.ranks import BEAT_SECONDS, Ranks, run_worker, start_ranks, wait_for_file
from infimed_core.errors import InfimedError
from infimed_core.evaluate.evaluation import evaluate_models
from infimed_core.evaluate.shortfall import shortfall
from infimed_core.models.checkpoints import Checkpoint, prepare_model
from infimed_core.models.model_pool import RunModelPool
from infimed_core.models.shared_model import answer_share
from infimed_core.plugin_loading import GROUP
from infimed_core.plugins import Registry
from infimed_core.reports import report_failure, write_reports
from infimed_core.runfile.plan import Plan
from infimed_core.stopping import stop_signal, terminable
from infimed_core.store.dataset import Curated
from infimed_core.store.record import DamagedRecordError, RunDirectory, new_record, now, read_record, record_format
from infimed_core.store.steps import RunState
from infimed_core.train.training import train_along, train_stages

STOPPED = "it was stopped"
"""Why a process of the run ended that got a signal to stop."""
UMASKS = {"user": 0o077, "group": 0o027, "everyone": 0o022}


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
    umask = os.umask(0o077)
    os.umask(UMASKS.get(plan.file.run.readable_by or "", umask))
    try:
        with terminable():
            return _lead(plan, registry, listen, ranks) if ranks.is_first else _follow(plan, registry, ranks)
    except BaseException as error:
        problem = STOPPED if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
        raise
    finally:
        os.umask(umask)
        ranks.close(problem)


def _lead(plan: Plan, registry: Registry, listen: Callable[[RunEvent], None], ranks: Ranks) -> RunRecord:
    section = plan.file.run
    path = Path(section.directory) / section.name
    record = new_record(section.name, section.seed, plan.as_json(), _used_plugins(plan, registry), plan.source.parent)
    if ranks.size > 1:
        record.environment["ranks"] = ranks.size
    directory = RunDirectory(path, record)
    if (record_format(path / "run.json") or 0) > RECORD_FORMAT:
        read_record(path)  # says that a later version made it
    before = directory.hold()
    changed = [*_changes_since(path, record), *replaced_results(path, record)]
    if before:
        changed.append(f"{path}: taken over from {before}, which ended without giving it back")
    listener_failures: set[str] = set()

    def tell(event: RunEvent) -> None:
        listen(event)
        for failure in registry.tell(event):
            if failure not in listener_failures:
                listener_failures.add(failure)
                listen(RunEvent(kind="message", step="", directory=str(path), payload={"text": failure}))

    ranks.last_words(lambda text: directory.write(status="failed", finished=now(), error=text))
    try:
        directory.write()
        state = _state(plan, registry, directory, tell, ranks)
        default = registry.find("executor", registry.default("executor") or "")
        used: Any = plan.components.get("data.executor") or default()
        state.tell("run_started", "", {"name": section.name, "uses": used.uses()})
        for text in [*changed, *registry.new_notes()]:
            state.say(text)
        ranks.give({"kind": "begin", "config": record.config, "file": str((path / "run.json").absolute())})
        ranks.collect()
        _steps(state)
        is_empty, lacking = shortfall(directory.record)
        status = "failed" if is_empty else "done"
        directory.write(status=status, finished=now(), error=lacking or None)
        write_reports(state)
        for log in path.glob("error*.log") if status == "done" else ():
            log.unlink()  # of an attempt before
        ranks.give({"kind": "end"})
        state.tell("run_finished", "", {"status": status})
    except BaseException as error:
        _fail(directory, plan, error, ranks)
    finally:
        directory.release()
    return directory.record


def _fail(directory: RunDirectory, plan: Plan, error: BaseException, ranks: Ranks) -> NoReturn:
    """Write how the run ended, and raise the error again: with its cause where that lies in another process."""
    stopped_by, follows = stop_signal(), ""
    if stopped_by is not None and not isinstance(error, KeyboardInterrupt):
        # what a worker or a library made of the same signal, or what went wrong while the run stopped
        follows, error = f"; {type(error).__name__}: {error}", KeyboardInterrupt()
    if isinstance(error, SystemExit):  # a component called sys.exit: the run did not end well, whatever it says
        error = raised_in(error) or InfimedError(f"something called sys.exit({error.code!r}) within the run")
    final = error
    cause = ranks.cause(2 * BEAT_SECONDS) if ranks.size > 1 else None
    if cause is not None and cause != str(error) and not (stopped_by and cause.endswith(STOPPED)):
        final = InfimedError(cause if isinstance(error, KeyboardInterrupt) else f"{error}; {cause}")
    elif isinstance(error, OSError) and error.errno in FULL:
        file = f"{error.filename}: " if error.filename else ""
        final = InfimedError(
            f"{file}{error.strerror}; what is finished is kept in {directory.path}: free disk space and run the same "
            "command again"
        )
    stopped = isinstance(final, KeyboardInterrupt)
    try:
        if stopped:
            named = str(final) or f"stopped by {(stopped_by or signal.SIGINT).name}{follows}"
            directory.write(status="interrupted", finished=now(), error=named)
        else:
            directory.write(status="failed", finished=now(), error=f"{type(final).__name__}: {final}")
            report_failure(directory, plan)
    except Exception:
        pass  # a full disk, say: the record stays as it was, and the error itself is told
    if final is error:
        raise error
    raise final from error


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
    media = registry.media_loader(plan.file.data.modalities if plan.file.data is not None else None)
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
        own = json.loads(json.dumps(self._state.directory.record.config))
        if places := ", ".join(sorted(_changed(task["config"], own))):
            raise InfimedError(f"rank {rank} runs another run file than the first process: {places:.400} differ")
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


def _used_plugins(plan: Plan, registry: Registry) -> tuple[PluginInfo, ...]:
    """The plugins whose components take part (or that the run file asks for), sorted by name.

    An outside modality takes part where there are media of its kind, which is seen when the data are read.
    """
    with_modalities = {qualified.split("/", 1)[0] for qualified in registry.components("modality")}
    names = plan.plugins | {name for name in with_modalities if registry.is_own(name)}
    return tuple(registry.plugins[name] for name in sorted(names) if name in registry.plugins)


def _changes_since(path: Path, record: RunRecord) -> list[str]:
    """A line where another version made the run that is there; else one for each plugin that has changed since."""
    file = path / "run.json"
    number = record_format(file)
    if number is not None and number < RECORD_FORMAT:
        kept = "answers in cache/ are read as before, every step is done anew"
        return [f"{file}: made by an earlier version (record format {number}); {kept}"]
    if not file.exists():
        return []
    try:
        before = {plugin.name: plugin.version for plugin in read_record(file).plugins}
    except DamagedRecordError as error:
        return [f"{error.problem}; it is written anew, and every finished step is reused"]
    changed = [plugin for plugin in record.plugins if before.get(plugin.name, plugin.version) != plugin.version]
    lines = [
        f"plugin '{plugin.name}' was {before[plugin.name]} when this run was made and is {plugin.version} now; what it "
        "took part in is made anew"
        for plugin in changed
        if plugin.distribution != GROUP
    ]
    if own := next((plugin for plugin in changed if plugin.distribution == GROUP), None):
        kept = "steps are read as before where settings, data and the component's 'version' are the same"
        lines.append(f"{file}: made by InfiMed {before[own.name]}, this is {own.version}; {kept}")
    return lines


def replaced_results(path: Path, record: RunRecord) -> list[str]:
    """A line where a run of this name has results of other settings, which this one replaces."""
    try:
        before = read_record(path)
    except InfimedError:
        return []
    places = sorted(_changed(before.config, record.config))
    if not before.results or not places:
        return []
    graded = ", ".join(dict.fromkeys(f"{row.model} on {row.benchmark}" for row in before.results))
    text = f"results in {path} ({graded:.200}) are replaced where these settings change them: {', '.join(places):.400}"
    return [f"{text}; to keep both, give this run another name (--set run.name=NAME)"]


def _changed(old: Any, new: Any, place: str = "") -> set[str]:
    """The places of the run file that differ."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        old, new = (dict(enumerate(values)) for values in (old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        keys = old.keys() | new.keys()
        return {p for key in keys for p in _changed(old.get(key), new.get(key), f"{place}.{key}" if place else key)}
    return set() if old == new else {place}


def _steps(state: RunState) -> None:
    file = state.plan.file
    curated: Curated | None = curate(state) if file.data is not None else None
    models: list[Checkpoint] = []
    if file.model is not None:
        no_texts: tuple[str, ...] = ()
        texts, data_digest = (curated.texts, curated.digest) if curated else (lambda: iter(no_texts), None)
        models.append(prepare_model(state, texts, data_digest))
    if file.training is not None:
        assert curated is not None  # the run file was checked for it
        models += train_stages(state, curated, models[0])
    if file.evaluation is not None:
        evaluate_models(state, models, curated if file.training is not None else None)
