"""Metrics: means of the grade and of its parts, and measures of texts against their references."""

from infimed_core import Metric, hookimpl


@hookimpl
def infimed_metrics() -> dict[str, type[Metric] | str]:
    """Offer ``accuracy`` and its relatives."""
    from infimed_plugins.metrics.means import PARTS

    return {
        "accuracy": "infimed_plugins.metrics.means:Accuracy",
        "coverage": "infimed_plugins.metrics.means:Coverage",
        "accuracy_where_read": "infimed_plugins.metrics.means:AccuracyWhereRead",
        "balanced-accuracy": "infimed_plugins.metrics.classes:BalancedAccuracy",
        "f1": "infimed_plugins.metrics.classes:F1",
        "mean-average-precision": "infimed_plugins.metrics.grounding.metrics:MeanAveragePrecision",
        "mean-iou": "infimed_plugins.metrics.grounding.metrics:MeanIou",
        "pointing-accuracy": "infimed_plugins.metrics.grounding.metrics:PointingAccuracy",
        "calibration-error": "infimed_plugins.metrics.calibration:CalibrationError",
        "refer-area": "infimed_plugins.metrics.calibration:ReferArea",
        "accuracy-when-referring": "infimed_plugins.metrics.calibration:AccuracyWhenReferring",
        **{name: f"infimed_plugins.metrics.means:{name}" for name in PARTS},
        "cider": "infimed_plugins.metrics.cider:Cider",
        "findings-cider": "infimed_plugins.metrics.cider:FindingsCider",
        "impression-cider": "infimed_plugins.metrics.cider:ImpressionCider",
        "meteor": "infimed_plugins.metrics.external:Meteor",
        "bertscore": "infimed_plugins.metrics.external:BertScore",
        "radgraph-f1": "infimed_plugins.metrics.external:RadGraph",
        "chexbert-f1": "infimed_plugins.metrics.external:CheXbert",
        "ratescore": "infimed_plugins.metrics.external:RaTeScore",
        "green": "infimed_plugins.metrics.external:Green",
        "part-mean": "infimed_plugins.metrics.means:PartMean",
    }


@hookimpl
def infimed_benchmarks() -> dict[str, str]:
    """Offer ``grounding``: boxes and points in images."""
    return {"grounding": "infimed_plugins.metrics.grounding.benchmark:Grounding"}


@hookimpl
def infimed_baselines() -> dict[str, str]:
    """Offer the constants that every model is compared with."""
    return {
        "most-common-answer": "infimed_plugins.metrics.constants:MostCommonAnswer",
        "constant-letter": "infimed_plugins.metrics.constants:ConstantLetter",
    }


@hookimpl
def infimed_defaults() -> dict[str, str]:
    """What sums up a benchmark that names no metric."""
    return {"metric": "accuracy"}
