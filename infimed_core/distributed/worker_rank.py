"""What the processes of a run do that are not its first: take part in training and answering, and write no record."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from infimed_core.api.component import JsonObject
from infimed_core.api.models import LoadedModel, Model, TrainableModel
from infimed_core.errors import InfimedError
from infimed_core.models.shared_model import _answer_share, _seen
from infimed_core.store.artifacts import digest
from infimed_core.store.steps import RunState
from infimed_core.train.training import train_along


def follow(state: RunState) -> None:
    """Do what the first process asks for, until the run ends.

    Raises:
        InfimedError: another process is gone, or the processes do not see the same files or run the same run file.
    """
    trained: TrainableModel | None = None
    opened: tuple[str, LoadedModel] | None = None
    while (task := state.ranks.take())["kind"] != "end":
        if task["kind"] == "begin":
            _begin(state, task)
        elif task["kind"] == "train":
            opened = None
            trained = train_along(state, task, trained)
        elif task["kind"] == "answer":
            trained = None
            if opened is None or opened[0] != task["checkpoint"]:
                opened = None  # free the one before
                model = cast(Model, state.plan.component(task["component"]))
                opened = (task["checkpoint"], model.load(Path(task["checkpoint"])))
            _answer_share(state, task, opened[1])
        state.ranks.report({})


def _begin(state: RunState, task: JsonObject) -> None:
    if digest(state.directory.record.config) != task["plan"]:
        raise InfimedError(f"rank {state.ranks.rank} runs another run file or version than the first process")
    _seen(Path(task["file"]), state.ranks.rank)
