"""InfiMed: from raw medical image-text data to a graded multimodal model. What a plugin author may import."""

from infimed_core.components import (
    Ask,
    Batches,
    Benchmark,
    Component,
    Encoder,
    Executor,
    Gate,
    JudgingScorer,
    LoadedModel,
    Measurements,
    MediaLoader,
    Metric,
    Modality,
    Model,
    Packer,
    Reader,
    ResolutionScheduler,
    Scorer,
    Selector,
    Solver,
    TextLengths,
    TextMetric,
    TrainableModel,
    Trainer,
    TrainingContext,
)
from infimed_core.errors import ConfigError, DataError, InfimedError, PluginError
from infimed_core.hookspecs import hookimpl
from infimed_core.plugins import load_plugins
from infimed_core.statistics import cohen_kappa, interval
from infimed_core.types import (
    IGNORED_LABEL,
    Answer,
    Candidate,
    Encoded,
    Fault,
    Gated,
    Generation,
    Media,
    MetricValue,
    Mix,
    PackedBatch,
    Packs,
    Phase,
    Request,
    Row,
    RunEvent,
    Sample,
    Score,
    Selection,
    Stage,
    StageEvaluation,
    Turn,
    Use,
    canonical_json,
)
from infimed_core.vocabulary import MODALITIES, TASK_TYPES, UNLABELLED, modality_of, task_type_of

__all__ = [
    "IGNORED_LABEL", "MODALITIES", "TASK_TYPES", "UNLABELLED", "Answer", "Ask", "Batches", "Benchmark", "Candidate",
    "Component", "ConfigError", "DataError", "Encoded", "Encoder", "Executor", "Fault", "Gate", "Gated", "Generation",
    "InfimedError", "JudgingScorer", "LoadedModel", "Measurements", "Media", "MediaLoader", "Metric", "MetricValue",
    "Mix", "Modality", "Model", "PackedBatch", "Packer", "Packs", "Phase", "PluginError", "Reader", "Request",
    "ResolutionScheduler", "Row", "RunEvent", "Sample", "Score", "Scorer", "Selection", "Selector", "Solver", "Stage",
    "StageEvaluation", "TextLengths", "TextMetric", "TrainableModel", "Trainer", "TrainingContext", "Turn", "Use",
    "canonical_json", "cohen_kappa", "hookimpl", "interval", "load_plugins", "modality_of", "task_type_of",
]  # fmt: skip
