"""The plugin ``embedding``: alignment, specificity and near-duplicates by any image-text embedding model."""

from __future__ import annotations

from infimed_core import Gate, Scorer, hookimpl


@hookimpl
def infimed_scorers() -> dict[str, type[Scorer]]:
    """The scorer ``embedding``."""
    from infimed_plugins.embedding.scorer import EmbeddingScorer

    return {"embedding": EmbeddingScorer}


@hookimpl
def infimed_gates() -> dict[str, type[Gate]]:
    """The gate ``embedding-duplicates``."""
    from infimed_plugins.embedding.gate import EmbeddingDuplicates

    return {"embedding-duplicates": EmbeddingDuplicates}
