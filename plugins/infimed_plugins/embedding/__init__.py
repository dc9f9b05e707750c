"""The plugin ``embedding``: alignment, specificity and near-duplicates by any image-text embedding model."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_scorers() -> dict[str, str]:
    """The scorer ``embedding``."""
    return {"embedding": "infimed_plugins.embedding.scorer:EmbeddingScorer"}


@hookimpl
def infimed_filters() -> dict[str, str]:
    """the filter ``embedding-duplicates``."""
    return {"embedding-duplicates": "infimed_plugins.embedding.duplicates:EmbeddingDuplicates"}
