"""Metrics: means of the grade and of its parts, and measures of texts against their references."""

from infimed_core import Metric, hookimpl


@hookimpl
def infimed_metrics() -> dict[str, type[Metric]]:
    """Offer ``accuracy`` and its relatives."""
    from infimed_plugins.metrics import cider, external, means

    return {
        "accuracy": means.Accuracy,
        "exact-match": means.ExactMatch,
        "bleu-1": means.Bleu1,
        "bleu-2": means.Bleu2,
        "bleu-3": means.Bleu3,
        "bleu-4": means.Bleu4,
        "rouge-1": means.Rouge1,
        "rouge-2": means.Rouge2,
        "rouge-l": means.RougeL,
        "cider": cider.Cider,
        "token-precision": means.TokenPrecision,
        "token-recall": means.TokenRecall,
        "token-f1": means.TokenF1,
        "findings-rouge-l": means.FindingsRougeL,
        "findings-bleu-4": means.FindingsBleu4,
        "findings-cider": cider.FindingsCider,
        "impression-rouge-l": means.ImpressionRougeL,
        "impression-bleu-4": means.ImpressionBleu4,
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
