"""The selecting step of a run: a selector's verdict on stored scores, sample by sample, and what it cost whom."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import JsonObject
from infimed_core.api.quality import RowSelection, Selector
from infimed_core.contracts import raised_in, wrong
from infimed_core.store.artifacts import digest
from infimed_core.store.dataset import Dataset
from infimed_core.store.files import replaced
from infimed_core.store.scores import Candidates, ScoreTable
from infimed_core.store.steps import Outcome, RunState

SELECTION = "selection.jsonl"
KEPT = "kept.npy"
LOW = 0.5
"""A dimension under this counts as a reason of its own for a sample's rejection."""


def select_samples(
    state: RunState,
    dataset: Dataset,
    tables: Mapping[str, ScoreTable],
    left_out: NDArray[np.bool_],
    inputs_digest: str,
) -> tuple[NDArray[np.bool_], str]:
    """Keep what the selector keeps. ``selection.jsonl`` holds every sample: whether it is kept, and why not.

    The selector sees the dimensions of every scorer; ``details["scorers"]`` names them in order.

    Args:
        left_out: bool [n], rows that a filter left out.

    Returns:
        Which rows are kept, bool [n], and a digest of the verdict.
    """
    selector: Selector = state.plan.component("quality.select")
    hashed = digest("select", 4, inputs_digest, selector.identity())

    def work(directory: Path) -> Outcome:
        candidates = Candidates(dataset, tables, left_out)
        selection = _verdict(selector, candidates)
        kept = np.zeros(len(dataset), dtype=bool)
        kept[candidates.rows] = selection.codes == RowSelection.KEPT
        dropped, details = _write(directory / SELECTION, candidates, selection)
        np.save(directory / KEPT, kept, allow_pickle=False)
        funnel = [
            {"step": "read", "num": len(dataset)},
            {"step": "passed the filters of the data", "num": len(candidates)},
        ]
        left = len(candidates)
        for reason, count in dropped.most_common():
            left -= count
            funnel.append({"step": f"not {reason}", "num": left})
        details["funnel"] = funnel
        details["scorers"] = list(tables)
        return Outcome(num_in=len(candidates), num_out=int(kept.sum()), dropped=dict(dropped), details=details)

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
    if not all(selection.reasons):
        raise wrong(selector, "select", "rejected a sample without a reason; give each reject one reason or more")
    return selection


def _write(path: Path, candidates: Candidates, selection: RowSelection) -> tuple[Counter[str], JsonObject]:
    """Write every verdict by temporary file and rename; count rejects by first reason, and everything for the report.

    ``kills`` says of each dimension how many rejects it was low in (under 0.5), and how many of these were low in no
    other: what only this dimension finds.
    """
    first: Counter[str] = Counter()
    any_: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    low: Counter[str] = Counter()
    low_alone: Counter[str] = Counter()
    dimensions: dict[str, None] = {}
    modalities: dict[str, dict[str, int]] = defaultdict(lambda: {"in": 0, "kept": 0})
    with replaced(path) as stream:
        for place, candidate in enumerate(candidates):
            reasons = selection.rejected(place)
            cell = modalities[candidate.tags.get("modality", "unlabelled")]
            cell["in"] += 1
            cell["kept"] += reasons is None
            row = {"id": candidate.id, "kept": reasons is None, "reasons": reasons or ()}
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            dimensions |= dict.fromkeys(candidate.score.parts)
            if reasons is None:
                continue
            first[reasons[0] if reasons else "unstated"] += 1
            any_.update(dict.fromkeys(reasons, 1))
            if len(reasons) == 1:
                alone[reasons[0]] += 1
            found = [name for name, part in candidate.score.parts.items() if part is not None and part < LOW]
            low.update(found)
            if len(found) == 1:
                low_alone[found[0]] += 1
    details: JsonObject = {
        "rejected_by": dict(any_.most_common()),
        "rejected_by_alone": dict(alone.most_common()),
        "kills": {name: {"num": low[name], "alone": low_alone[name]} for name in dimensions},
        "by_tag": {"modality": dict(sorted(modalities.items()))},
    }
    return first, details
