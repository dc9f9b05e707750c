"""What is asked and who: a benchmark as a run asks it, and the models of the run, opened one at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from infimed_core.api.component import JsonObject, with_versions
from infimed_core.api.data import Fault, Sample
from infimed_core.api.evaluation import Benchmark
from infimed_core.api.models import LoadedModel, Model, TrainableModel
from infimed_core.evaluate.choices import described_metrics, generation_of, named_metrics, solver_of
from infimed_core.evaluate.grading import protocol
from infimed_core.models.answer_cache import AnswerCache
from infimed_core.models.checkpoints import Checkpoint, load_checkpoint, prepare_model
from infimed_core.models.shared_model import shared
from infimed_core.runfile.sections import BenchmarkRef, benchmark_name
from infimed_core.store.artifacts import digest
from infimed_core.store.questions import read_questions
from infimed_core.store.steps import RunState


class OpenedModels:
    """The models under evaluation, one in memory at a time, and the answers that each gave before."""

    def __init__(self, state: RunState, own: Iterable[Checkpoint]) -> None:
        self._state = state
        self._checkpoints = {checkpoint.name: checkpoint for checkpoint in own}
        self._name: str | None = None
        self._loaded: LoadedModel | None = None

    def checkpoint(self, name: str) -> Checkpoint:
        """A model of the run, or an entry of ``models:``, which is made ready when it is first wanted."""
        if name not in self._checkpoints:
            self._checkpoints[name] = prepare_model(self._state, lambda: (), None, name)
        return self._checkpoints[name]

    def component(self, name: str) -> Model:
        """The component that opens a model."""
        found: Model = self._state.plan.component(self.checkpoint(name).component)
        return found

    def get(self, checkpoint: Checkpoint) -> tuple[LoadedModel, AnswerCache]:
        """The loaded model and its answers; a server's own word of what it serves is part of who it is."""
        model, loaded = self.component(checkpoint.name), self._loaded
        if model.runs_elsewhere:
            loaded = model.load(checkpoint.directory)
        elif loaded is None or self._name != checkpoint.name:
            self._loaded = loaded = None  # let go of the last one before the next takes its memory
            self._loaded = loaded = load_checkpoint(model, checkpoint.directory)
            self._name = checkpoint.name
        identity = digest(checkpoint.digest, model.identity())
        if not isinstance(loaded, TrainableModel):  # else the checkpoint's digest is that of the weights
            identity = digest(identity, loaded.identity)
        answering = shared(self._state, checkpoint.component, checkpoint.directory, loaded)
        section = self._state.plan.file.evaluation
        name = f"cache/{identity[:16]}.jsonl"
        others = sorted(self._state.path.parent.glob(f"*/{name}")) if section and section.reuse_answers else ()
        return answering, AnswerCache(self._state.path / name, identity, others)


class AskedBenchmark:
    """A benchmark as this run asks it."""

    def __init__(self, state: RunState, index: int, use: BenchmarkRef, only: frozenset[str] | None) -> None:
        section = state.plan.file.evaluation
        assert section is not None
        self.state, self.section, self.only = state, section, only
        self.told_faults = False
        self._reading = threading.RLock()
        self._questions: tuple[list[Sample], list[Fault]] | None = None
        self.benchmark: Benchmark = state.plan.component(f"evaluation.benchmarks.{index}")
        self.name = benchmark_name(section.benchmarks, index)
        self.solver = solver_of(state, index)
        self.generation = generation_of(state, index)
        self.metrics = named_metrics(state, index)
        self.described = described_metrics(state, index)
        solver = ["solver" + with_versions(self.solver, "")] if with_versions(self.solver, "") else []
        self.graded_by = [with_versions(m, f"{name}|{m.identity()}") for name, m in self.metrics.items()] + solver
        judges = {name: state.model_pool.identity(name) for name in section.judges}
        others = {name: state.model_pool.identity(name) for name in self.solver.models()}
        self.protocol = protocol(self.benchmark, self.solver, self.generation, section.limit, only)
        self.protocol |= {"judges": judges, "models": others}
        if judges and self.benchmark.judging:
            self.protocol["judging"] = self.benchmark.judging

    def questions(self) -> tuple[list[Sample], list[Fault]]:
        """The questions to ask, and the rows that are none."""
        with self._reading:
            if self._questions is None:
                place = self.state.media_directory
                self._questions = read_questions(self.benchmark, place, self.section.limit, self.only)
            return self._questions

    def opened_by(self) -> list[JsonObject]:
        """Who opens the media of the questions, where that is more than InfiMed's own with its defaults."""
        if not self.state.media.is_marked:
            return []  # then the questions need not be read to know
        with self._reading:
            found = self.state.opened_by(sorted({item.kind for row in self.questions()[0] for item in row.media}))
        return [dict(found)] if found else []
