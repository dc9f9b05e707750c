"""Tags that a run file names and that no sample of its sources' first rows has."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from itertools import islice

from infimed_core import Plan, Reader, Sample, Trainer

LOOKED_AT = 200
"""Rows of each source that are looked at."""
_ADDED = ("source", "identity", "reasoning")
"""Tags that a run gives its samples after they are read."""
_FIELDS = ("tag", "per_tag", "tags")
"""Settings of a selector that name tags."""


def tag_doubts(plan: Plan) -> list[str]:
    """A line for each tag that a setting names and no first row has; none where a source cannot be looked into.

    Tags that a default names are not meant: a selector passes over those that its samples lack.
    """
    named = list(_named(plan))
    there, num_rows = _tags_there(plan) if named else (set(), 0)
    if not num_rows:
        return []
    known = ", ".join(sorted(there)) or "none"
    return [
        f"{place}: no sample of the first {num_rows} has the tag '{tag}' (there are: {known})"
        for place, tag in named
        if tag not in there and tag not in _ADDED
    ]


def _named(plan: Plan) -> Iterator[tuple[str, str]]:
    """Where the run file names a tag of a sample, and the tag."""
    if plan.file.data is not None and plan.file.data.split is not None and plan.file.data.split.by:
        yield "data.split.by", plan.file.data.split.by
    selector = plan.components.get("quality.select")
    for name in _FIELDS if selector is not None else ():
        value = getattr(selector, name, None)
        if selector is not None and name in selector.model_fields_set and value:
            for tag in (value,) if isinstance(value, str) else value:
                yield f"quality.select.with.{name}", tag
    trainer = plan.components.get("training")
    for stage in trainer.stage_list if isinstance(trainer, Trainer) else ():
        for number, entry in enumerate(stage.mix):
            for tag in entry.where:
                yield f"training, stage '{stage.name}', mix.{number}.where", tag


def _tags_there(plan: Plan) -> tuple[set[str], int]:
    """The tags of the first samples of every source, and the number of samples; none where one cannot be read."""
    there = {"split"} if plan.file.data is not None and plan.file.data.split is not None else set()
    num_rows = 0
    for place, component in plan.components.items():
        if not place.startswith("data.sources.") or not isinstance(component, Reader):
            continue
        try:
            rows = list(islice(_rows(component), LOOKED_AT))
        except Exception:  # told by the source's own doubts, or by the run
            return set(), 0
        samples = [row for row in rows if isinstance(row, Sample)]
        num_rows += len(samples)
        there.update(tag for sample in samples for tag in sample.tags)
    return there, num_rows


def _rows(reader: Reader) -> Iterator[object]:
    path = getattr(reader, "path", None)
    if "://" in str(path) or (isinstance(path, str) and not glob.glob(os.path.expanduser(path))):
        raise OSError("a source that does not lie here is not fetched to be checked")
    for shard in reader.shards():
        yield from reader.read(shard)
