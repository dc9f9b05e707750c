"""Metrics: means of the grade and of its parts, and measures of texts against their references."""

from infimed_core import Metric, hookimpl


@hookimpl
def infimed_metrics() -> dict[str, type[Metric]]:
    """Offer ``accuracy`` and its relatives."""
    from infimed_plugins.metrics import cider, classes, external, means

    return {
        "accuracy": means.Accuracy,
        "coverage": means.Coverage,
        "accuracy_where_read": means.AccuracyWhereRead,
        "balanced-accuracy": classes.BalancedAccuracy,
        "f1": classes.F1,
        **means.part_metrics(),
        "cider": cider.Cider,
        "findings-cider": cider.FindingsCider,
        "impression-cider": cider.ImpressionCider,
        "meteor": external.Meteor,
        "bertscore": external.BertScore,
        "radgraph-f1": external.RadGraph,
        "chexbert-f1": external.CheXbert,
        "ratescore": external.RaTeScore,
        "green": external.Green,
        "part-mean": means.PartMean,
    }


@hookimpl
def infimed_defaults() -> dict[str, str]:
    """What sums up a benchmark that names no metric."""
    return {"metric": "accuracy"}
