"""InfiMed: from raw medical image-text data to a graded multimodal model. What a plugin author may import."""

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
    Sample,
    Score,
    Turn,
)
from infimed_core.api.evaluation import AnswerMetric, Benchmark, GradedAnswer, Metric, Solver, TextMetric
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
from infimed_core.api.planning import Packer, Packs, Phase, ResolutionScheduler
from infimed_core.api.quality import Candidate, JudgingScorer, RowSelection, Scorer, Selection, Selector
from infimed_core.api.reporting import Comparison, MetricValue, RunEvent
from infimed_core.api.training import Batches, Measurements, Mix, Stage, StageEvaluation, Trainer, TrainingContext
from infimed_core.api.vocabulary import MODALITIES, TASK_TYPES, UNLABELLED, modality_of, task_type_of
from infimed_core.errors import ConfigError, DataError, InfimedError, PluginError
from infimed_core.evaluate.paired_comparison import compare_answers
from infimed_core.evaluate.statistics import cohen_kappa, interval
from infimed_core.hookspecs import hookimpl
from infimed_core.plan.rows import assemble
from infimed_core.plugins import load_plugins

__all__ = [
    "IGNORED_LABEL",
    "MODALITIES",
    "TASK_TYPES",
    "UNLABELLED",
    "Answer",
    "AnswerMetric",
    "Ask",
    "Batches",
    "Benchmark",
    "Candidate",
    "Comparison",
    "Component",
    "ComponentRef",
    "ConfigError",
    "DataError",
    "DatasetFilter",
    "Encoded",
    "Encoder",
    "Executor",
    "Fault",
    "FilterResult",
    "Generation",
    "GradedAnswer",
    "InfimedError",
    "JudgingScorer",
    "LoadedModel",
    "Measurements",
    "Media",
    "MediaLoader",
    "Metric",
    "MetricValue",
    "Mix",
    "Modality",
    "Model",
    "PackedBatch",
    "Packer",
    "Packs",
    "Phase",
    "PluginError",
    "Reader",
    "Request",
    "ResolutionScheduler",
    "Row",
    "RowSelection",
    "RunEvent",
    "Sample",
    "Score",
    "Scorer",
    "Selection",
    "Selector",
    "Solver",
    "Stage",
    "StageEvaluation",
    "TextLengths",
    "TextMetric",
    "TrainableModel",
    "Trainer",
    "TrainingContext",
    "Turn",
    "assemble",
    "canonical_json",
    "cohen_kappa",
    "compare_answers",
    "hookimpl",
    "interval",
    "load_plugins",
    "modality_of",
    "task_type_of",
]  # fmt: skip
