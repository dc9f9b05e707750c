"""Checkpoints of a run: the base model is prepared, any of them is verified and opened."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from infimed_core.api.component import as_named, with_versions
from infimed_core.api.models import LoadedModel, Model
from infimed_core.store.artifacts import digest, verify_files
from infimed_core.store.files import write_atomically
from infimed_core.store.steps import Outcome, RunState


@dataclass(frozen=True)
class Checkpoint:
    """A model of the run: ``base``, a stage's name or an entry of ``models:``; its directory (``None`` for a remote
    model), its digest, and the place of its component in the run file."""

    name: str
    directory: Path | None
    digest: str
    component: str = "model"


def prepare_model(
    state: RunState, texts: Callable[[], Iterable[str]], data_digest: str | None, named: str | None = None
) -> Checkpoint:
    """Make or find the base checkpoint, or that of the entry ``named`` of ``models:``.

    Args:
        texts: every text of the run's training data, for a model that builds its own vocabulary.
        data_digest: digest of that data; ``None`` for a run without data.
    """
    place = "model" if named is None else f"models.{named}"
    model: Model = state.plan.component(place)
    inputs_digest = digest("model", 1, with_versions(model, model.weights_identity()), state.seed, data_digest)

    def work(directory: Path) -> Outcome:
        found = model.prepare(directory / "checkpoint", texts, state.seed)
        own = found is not None and found.absolute().is_relative_to(state.path.absolute())
        # One that is not the run's own is looked for again where it is needed: it may have been moved.
        inside = os.path.relpath(found, state.path) if found and own else None
        write_atomically(directory / "checkpoint.json", json.dumps({"path": inside, "outside": bool(found) > own}))
        return Outcome(details={"checkpoint": inside or (as_named(str(found)) if found else None)})

    subject = None if named is None else {"model": named}
    step = "model" if named is None else f"model-{named}"
    artifact = state.step(step, inputs_digest, work, kind="model", subject=subject)
    found = json.loads((artifact.directory / "checkpoint.json").read_text(encoding="utf-8"))
    directory = state.path / found["path"] if found["path"] else None
    if found.get("outside"):
        directory = model.prepare(artifact.directory / "checkpoint", texts, state.seed)
    return Checkpoint(named or "base", directory, inputs_digest, place)


def load_checkpoint(model: Model, directory: Path | None) -> LoadedModel:
    """Open a checkpoint of the run once its files are verified.

    Raises:
        InfimedError: a file is not what training wrote.
    """
    if directory is not None:
        verify_files(directory)
    return model.load(directory)
