"""Checkpoints of a run: the base model is prepared, any of them is verified and opened."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from infimed_core.api.component import with_versions
from infimed_core.api.models import LoadedModel, Model
from infimed_core.named_files import as_named
from infimed_core.store.artifacts import digest, verify_files
from infimed_core.store.files import write_atomically
from infimed_core.store.steps import Outcome, RunState


@dataclass(frozen=True)
class Checkpoint:
    """A model of the run: ``base`` or a stage's name, its directory (``None`` for a remote model) and its digest."""

    name: str
    directory: Path | None
    digest: str


def prepare_model(state: RunState, texts: Callable[[], Iterable[str]], data_digest: str | None) -> Checkpoint:
    """Make or find the base checkpoint.

    Args:
        texts: every text of the run's training data, for a model that builds its own vocabulary.
        data_digest: digest of that data; ``None`` for a run without data.
    """
    model: Model = state.plan.component("model")
    inputs_digest = digest("model", 1, with_versions(model, model.weights_identity()), state.seed, data_digest)

    def work(directory: Path) -> Outcome:
        found = model.prepare(directory / "checkpoint", texts, state.seed)
        own = found is not None and found.absolute().is_relative_to(state.path.absolute())
        # One that is not the run's own is looked for again where it is needed: it may have been moved.
        place = {"path": os.path.relpath(found, state.path) if found and own else None, "outside": bool(found) > own}
        write_atomically(directory / "checkpoint.json", json.dumps(place))
        return Outcome(details={"checkpoint": place["path"] or (as_named(str(found)) if found else None)})

    artifact = state.step("model", inputs_digest, work)
    place = json.loads((artifact.directory / "checkpoint.json").read_text(encoding="utf-8"))
    if place.get("outside"):
        return Checkpoint("base", model.prepare(artifact.directory / "checkpoint", texts, state.seed), inputs_digest)
    return Checkpoint("base", state.path / place["path"] if place["path"] else None, inputs_digest)


def load_checkpoint(model: Model, directory: Path | None) -> LoadedModel:
    """Open a checkpoint of the run once its files are verified.

    Raises:
        InfimedError: a file is not what training wrote.
    """
    if directory is not None:
        verify_files(directory)
    return model.load(directory)
