"""Learning from judged answers in the words of other tools: the objective, and the reader of their files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infimed_plugins.migration.keys import Settings

READERS = {"dpo": "preference-pairs", "kto": "labelled-answers"}
"""Objectives that are converted, with the reader of their files."""
LOSSES = {"sigmoid": "sigmoid", "hinge": "hinge", "ipo": "ipo"}


def objective_of(method: str, settings: Settings, names: Mapping[str, str], longest: int | None) -> dict[str, Any]:
    """An objective as it stands in a stage; ``names`` holds their name of every setting of ours.

    Raises:
        ValueError: it asks for something that is not offered.
    """
    given: dict[str, Any] = {
        ours: settings.number(theirs)
        for ours, theirs in names.items()
        if ours != "loss" and settings.get(theirs) is not None
    }
    loss = settings.get(names.get("loss", ""))
    if isinstance(loss, list):
        loss = loss[0] if len(loss) == 1 else loss
    if loss is not None and method == "dpo":
        if not isinstance(loss, str) or loss not in LOSSES:
            raise ValueError(f"{names['loss']}: {loss} is not offered; {', '.join(LOSSES)} are")
        given["loss"] = LOSSES[loss]
    # Answers go through the model in rows of their own, and the two of a pair share one.
    if longest is not None and 2 * longest > 4096:
        given["row_tokens"] = 2 * longest
    return {"use": method, "with": given} if given else {"use": method}


def source_of(method: str, path: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The reader of a file with judged answers."""
    return {"use": READERS[method], "with": {"path": path, **settings}}
