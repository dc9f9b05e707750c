"""InfiMed: from raw medical image-text data to a graded multimodal model. What a plugin author may import."""

import infimed_core.stopping  # noqa: F401  # isort: skip  (first: a signal may come while the rest is imported)

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from infimed_core.api.component import Component, ComponentRef, Row, canonical_json
from infimed_core.api.data import (
    DatasetFilter,
    Executor,
    Fault,
    FilterResult,
    Media,
    MediaLoader,
    Modality,
    Reader,
    Region,
    Sample,
    Score,
    Slices,
    ToolCall,
    Turn,
)
from infimed_core.api.evaluation import AnswerMetric, Baseline, Benchmark, GradedAnswer, Metric, Solver, TextMetric
from infimed_core.api.learning import Augmentation, Optimizer, Schedule
from infimed_core.api.models import (
    IGNORED_LABEL,
    Answer,
    Ask,
    Encoded,
    Encoder,
    Generation,
    LoadedModel,
    Model,
    PackedBatch,
    Request,
    TextLengths,
    TrainableModel,
)
from infimed_core.api.objectives import MadeRows, Objective, Reward, Rollout, StageAccess
from infimed_core.api.planning import Packer, Packs, Phase, ResolutionScheduler
from infimed_core.api.quality import (
    Candidate,
    Curriculum,
    JudgingScorer,
    PlannedSample,
    RowSelection,
    Scorer,
    Selection,
    Selector,
)
from infimed_core.api.reporting import Comparison, MetricValue, Reporter, RunEvent
from infimed_core.api.synthesis import SynthesisContext, Synthesizer
from infimed_core.api.training import Batches, Measurements, Mix, Stage, StageEvaluation, Trainer, TrainingContext
from infimed_core.api.vocabulary import MODALITIES, TASK_TYPES, UNLABELLED, is_person_tag, modality_of, task_type_of
from infimed_core.errors import ComponentError, ConfigError, DataError, InfimedError, PluginError, WorkerDiedError
from infimed_core.functions import (
    augmentation,
    curriculum,
    dataset_filter,
    metric,
    offer,
    optimizer,
    reward,
    schedule,
    scorer,
    solver,
)
from infimed_core.hookspecs import KINDS, hookimpl
from infimed_core.named_files import digest_of_checkpoint, read_named
from infimed_core.plugins import Registry, load_plugins
from infimed_core.texts import printable

if TYPE_CHECKING:
    from infimed_core.cli import run_file
    from infimed_core.evaluate.paired_comparison import adjust, compare_answers, headline_metric
    from infimed_core.evaluate.statistics import cohen_kappa, holm, interval
    from infimed_core.evaluate.summary import counted, measure
    from infimed_core.plan.mixing import mixing_warnings
    from infimed_core.plan.rows import assemble, encode_sample
    from infimed_core.run import run as run_plan
    from infimed_core.runfile.loading import LEFT_OUT, load_run_file, parse_changes, parse_value
    from infimed_core.runfile.plan import Plan
    from infimed_core.runfile.sections import run_schema
    from infimed_core.store.artifacts import digest
    from infimed_core.store.files import without_checksum, write_atomically

_LATER = {
    "cli": "run_file",
    "evaluate.paired_comparison": "adjust compare_answers headline_metric",
    "evaluate.statistics": "cohen_kappa holm interval",
    "evaluate.summary": "counted measure",
    "plan.mixing": "mixing_warnings",
    "plan.rows": "assemble encode_sample",
    "run": "run_plan",
    "runfile.loading": "LEFT_OUT load_run_file parse_changes parse_value",
    "runfile.plan": "Plan",
    "runfile.sections": "run_schema",
    "store.artifacts": "digest",
    "store.files": "without_checksum write_atomically",
}
"""Modules that are imported when one of their names is first used, so that importing a plugin stays cheap."""


__all__ = [
    "IGNORED_LABEL", "KINDS", "LEFT_OUT", "MODALITIES", "TASK_TYPES", "UNLABELLED", "Answer", "AnswerMetric", "Ask",
    "Augmentation", "Baseline", "Batches", "Benchmark", "Candidate", "Comparison", "Component", "ComponentError",
    "ComponentRef", "ConfigError", "Curriculum", "DataError", "DatasetFilter", "Encoded", "Encoder", "Executor",
    "Fault", "FilterResult", "Generation", "GradedAnswer", "InfimedError", "JudgingScorer", "LoadedModel", "MadeRows",
    "Measurements", "Media", "MediaLoader", "Metric", "MetricValue", "Mix", "Modality", "Model", "Objective",
    "Optimizer", "PackedBatch", "Packer", "Packs", "Phase", "Plan", "PlannedSample", "PluginError", "Reader", "Region",
    "Registry", "Reporter", "Request", "ResolutionScheduler", "Reward", "Rollout", "Row", "RowSelection", "RunEvent",
    "Sample", "Schedule", "Score", "Scorer", "Selection", "Selector", "Slices", "Solver", "Stage", "StageAccess",
    "StageEvaluation", "SynthesisContext", "Synthesizer", "TextLengths", "TextMetric", "ToolCall", "TrainableModel",
    "Trainer", "TrainingContext", "Turn", "WorkerDiedError", "adjust", "assemble", "augmentation", "canonical_json",
    "cohen_kappa", "compare_answers", "counted", "curriculum", "dataset_filter", "digest", "digest_of_checkpoint",
    "encode_sample", "headline_metric", "holm", "hookimpl", "interval", "is_person_tag", "load_plugins",
    "load_run_file", "measure", "metric", "mixing_warnings", "modality_of", "offer", "optimizer", "parse_changes",
    "parse_value", "printable", "read_named", "reward", "run_file", "run_plan", "run_schema", "schedule", "scorer",
    "solver", "task_type_of", "without_checksum", "write_atomically",
]  # fmt: skip

_RENAMED = {"Gate": "DatasetFilter", "Gated": "FilterResult", "Use": "ComponentRef"}
"""Names of version 0.1, for plugins that were written for it."""


def __getattr__(name: str) -> Any:
    """A name that is imported when it is first used, or what an earlier name stands for now."""
    for module, names in _LATER.items():
        if name in names.split():
            attribute = "run" if name == "run_plan" else name
            globals()[name] = getattr(import_module(f"infimed_core.{module}"), attribute)
            return globals()[name]
    if name not in _RENAMED:
        raise AttributeError(f"module 'infimed_core' has no attribute '{name}'")
    text = f"infimed_core.{name} is called {_RENAMED[name]} now; the old name will be removed in version 1.0"
    warnings.warn(text, DeprecationWarning, stacklevel=2)
    return globals()[_RENAMED[name]]
