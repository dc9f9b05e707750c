"""Metrics over scores: means of the grade and of its parts."""

from infimed_core import Metric, hookimpl


@hookimpl
def infimed_metrics() -> dict[str, type[Metric]]:
    """Offer ``accuracy`` and its relatives."""
    from infimed_plugins.metrics import means

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
        "cider": means.Cider,
        "token-precision": means.TokenPrecision,
        "token-recall": means.TokenRecall,
        "token-f1": means.TokenF1,
        "part-mean": means.PartMean,
    }
