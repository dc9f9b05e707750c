"""The selecting step of a run: a selector's verdict on stored scores, sample by sample, and what it cost whom."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from infimed_core.api.component import JsonObject
from infimed_core.api.quality import Selection, Selector
from infimed_core.store.artifacts import digest
from infimed_core.store.dataset import Dataset
from infimed_core.store.scores import Candidates, ScoreTable
from infimed_core.store.steps import Outcome, RunState

SELECTION = "selection.jsonl"
LOW = 0.5
"""A dimension under this counts as a reason of its own for a sample's rejection."""


def select_samples(
    state: RunState,
    dataset: Dataset,
    tables: Mapping[str, ScoreTable],
    filtered: Mapping[str, tuple[str, ...]],
    inputs_digest: str,
) -> tuple[frozenset[str], str]:
    """Keep what the selector keeps. ``selection.jsonl`` holds every sample: whether it is kept, and why not.

    The selector sees the dimensions of every scorer; ``details["scorers"]`` names them in order.
    """
    selector: Selector = state.plan.component("quality.select")
    hashed = digest("select", 3, inputs_digest, selector.identity())

    def work(directory: Path) -> Outcome:
        candidates = Candidates(dataset, tables, filtered)
        selection = selector.select(candidates)
        if len(selection.kept) + len(selection.rejected) != len(candidates):
            raise ValueError(
                f"{type(selector).__name__} kept {len(selection.kept)} and rejected {len(selection.rejected)} "
                f"of {len(candidates)} samples: some are lost or counted twice"
            )
        dropped, details = _write(directory / SELECTION, candidates, selection)
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
        return Outcome(num_in=len(candidates), num_out=len(selection.kept), dropped=dict(dropped), details=details)

    artifact = state.step("select", hashed, work)
    rejected = set(read_rejected(artifact.directory / SELECTION))
    return frozenset(
        identity for identity in dataset.ids if identity not in rejected and identity not in filtered
    ), hashed


def read_rejected(path: Path) -> Iterator[str]:
    """The ids that a selection turned away."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if not row["kept"]:
                yield row["id"]


def _write(path: Path, candidates: Candidates, selection: Selection) -> tuple[Counter[str], JsonObject]:
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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        for candidate in candidates:
            reasons = selection.rejected.get(candidate.id)
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
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    details: JsonObject = {
        "rejected_by": dict(any_.most_common()),
        "rejected_by_alone": dict(alone.most_common()),
        "kills": {name: {"num": low[name], "alone": low_alone[name]} for name in dimensions},
        "by_tag": {"modality": dict(sorted(modalities.items()))},
    }
    return first, details
