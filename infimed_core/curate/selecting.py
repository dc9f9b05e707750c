"""The selecting step of a run: a selector's verdict on stored scores, sample by sample, and what it cost whom."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.quality import RowSelection, Selector
from infimed_core.contracts import raised_in, wrong
from infimed_core.store.artifacts import digest
from infimed_core.store.dataset import Dataset
from infimed_core.store.files import replaced
from infimed_core.store.scores import Candidates, ScoreTable
from infimed_core.store.steps import Outcome, RunState

SELECTION = "selection.jsonl"
KEPT = "kept.npy"


def select_samples(
    state: RunState, dataset: Dataset, tables: Mapping[str, ScoreTable], left_out: NDArray[np.bool_], inputs_digest: str
) -> tuple[NDArray[np.bool_], str]:
    """Keep what the selector keeps. ``selection.jsonl`` holds every sample: whether it is kept, and why not.

    The selector sees the dimensions of every scorer; ``details["scorers"]`` names them in order.

    Args:
        left_out: bool [n], rows that a filter left out.

    Returns:
        Which rows are kept, bool [n], and a digest of the verdict.
    """
    selector: Selector = state.plan.component("quality.select")
    hashed = digest("select", 5, inputs_digest, selector.identity())

    def work(directory: Path) -> Outcome:
        candidates = Candidates(dataset, tables, left_out)
        selection = _verdict(selector, candidates)
        kept = np.zeros(len(dataset), dtype=bool)
        kept[candidates.rows] = selection.codes == RowSelection.KEPT
        dropped = _write(directory / SELECTION, candidates, selection)
        np.save(directory / KEPT, kept, allow_pickle=False)
        return Outcome(len(candidates), int(kept.sum()), dict(dropped), {"scorers": list(tables)})

    artifact = state.step("select", hashed, work)
    mask: NDArray[np.bool_] = np.load(artifact.directory / KEPT, allow_pickle=False)
    return mask, hashed


def _verdict(selector: Selector, candidates: Candidates) -> RowSelection:
    try:
        selection = selector.select_rows(candidates)
    except ValueError as error:
        if raised_in(error) is not None:
            raise
        raise wrong(selector, "select", f"gave no verdict on each sample once: {error}") from error
    if not isinstance(selection, RowSelection) or len(selection.codes) != len(candidates):
        raise wrong(selector, "select_rows", f"gave no RowSelection with {len(candidates)} verdicts")
    if len(selection.codes) and not RowSelection.KEPT <= selection.codes.min() <= selection.codes.max() < len(
        selection.reasons
    ):
        raise wrong(selector, "select_rows", "gave a code that is neither KEPT nor the place of a reason")
    used = np.unique(selection.codes)  # the table may hold more reasons than were given
    if not all(selection.reasons[code] for code in used if code != RowSelection.KEPT):
        raise wrong(selector, "select", "rejected a sample without a reason; give each reject one reason or more")
    return selection


def _write(path: Path, candidates: Candidates, selection: RowSelection) -> Counter[str]:
    """Write every verdict by temporary file and rename; count rejects by their first reason."""
    first = Counter[str]()
    with replaced(path) as stream:
        for number, identity in enumerate(candidates.ids()):
            reasons = selection.rejected(number)
            row = {"id": identity, "kept": reasons is None, "reasons": reasons or ()}
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            if reasons is not None:
                first[reasons[0] if reasons else "unstated"] += 1
    return first
