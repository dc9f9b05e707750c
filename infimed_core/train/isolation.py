"""The isolation test of a run: samples in one row, as training assembles it, must give the logits they give alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import JsonObject
from infimed_core.api.models import Encoded, Model, TrainableModel
from infimed_core.errors import DataError
from infimed_core.models.checkpoints import Checkpoint, load_checkpoint
from infimed_core.plan.index import Index
from infimed_core.plan.rows import assemble, encode_sample
from infimed_core.store.artifacts import digest
from infimed_core.store.dataset import Dataset
from infimed_core.store.files import write_atomically
from infimed_core.store.steps import Outcome, RunState

NUM_SAMPLES = 3
"""Samples with images, and as many of text alone, that share the row of the test: the shortest ones."""
VISUAL_TOKENS = 64
"""Most visual tokens of an image in the test."""
TOLERANCES = {"float32": 1e-4, "float64": 1e-4}
OTHER_TOLERANCE = 3e-2
"""Largest difference of a logit that counts as rounding, relative to the largest logit: half precision is coarse."""


def isolation_of(
    state: RunState, dataset: Dataset, index: Index, allowed: NDArray[np.bool_], base: Checkpoint
) -> tuple[bool, str]:
    """Whether samples of the base model may share a row, and how that is known.

    What the model's component says is believed only where it says no: else the loaded model itself is run on a few
    samples of the data, in one row and alone.
    """
    model: Model = state.plan.component("model")
    directory = cast(Path, base.directory)

    def work(directory_of_step: Path) -> Outcome:
        packable, verdict = model.can_pack(directory)
        if packable:
            loaded = cast(TrainableModel, load_checkpoint(model, directory))
            packable, verdict = loaded.can_pack()
            encoded = _encoded(state, dataset, index, allowed, loaded) if packable else []
            if encoded:
                packable, trial = _tried(loaded, encoded)
                verdict = f"{verdict}; {trial}"
        facts: JsonObject = {"packable": packable, "verdict": verdict}
        write_atomically(directory_of_step / "isolation.json", json.dumps(facts))
        return Outcome(details=facts)

    artifact = state.step("isolation", digest("isolation", 2, base.digest, index.digest), work)
    facts = json.loads((artifact.directory / "isolation.json").read_text(encoding="utf-8"))
    return bool(facts["packable"]), str(facts["verdict"])


def _tried(model: TrainableModel, encoded: Sequence[Encoded]) -> tuple[bool, str]:
    """Whether the samples are apart, and what was seen; a model that fails in one row is not packed."""
    try:
        difference, tolerance = packed_against_alone(model, encoded)
    except RuntimeError as error:
        return False, f"it failed on {len(encoded)} samples of the data in one row: {str(error).splitlines()[0]}"
    trial = f"{len(encoded)} samples of the data in one row and alone: logits differ by {difference:.1e}"
    return difference <= tolerance, f"{trial} (relative, limit {tolerance:.0e})"


def packed_against_alone(model: TrainableModel, encoded: Sequence[Encoded]) -> tuple[float, float]:
    """The largest difference of a logit, relative to the largest logit, and the largest that is rounding."""
    import torch

    was_training = bool(model.module.training)
    model.module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            together = model.output_embedding()(model.hidden_states(assemble(encoded))).float()
            alone = [model.output_embedding()(model.hidden_states(assemble([sample]))).float() for sample in encoded]
    finally:
        model.module.train(was_training)
    apart = torch.cat(alone)
    difference = float((together - apart).abs().max() / apart.abs().max().clamp_min(1e-12))
    kind = str(next(model.module.parameters()).dtype).removeprefix("torch.")
    # A logit that is no number is no proof of anything.
    return difference if np.isfinite(difference) else float("inf"), TOLERANCES.get(kind, OTHER_TOLERANCE)


def _encoded(
    state: RunState, dataset: Dataset, index: Index, allowed: NDArray[np.bool_], model: TrainableModel
) -> list[Encoded]:
    """The shortest samples with and without images; one that cannot be encoded is left to training to tell."""
    usable = np.flatnonzero(allowed & index.usable)
    pictured = np.diff(index.image_offsets)[usable] > 0
    encoded: list[Encoded] = []
    for group in (usable[pictured], usable[~pictured]):
        for row in group[np.argsort(index.text[group], kind="stable")[:NUM_SAMPLES]].tolist():
            try:
                encoded.append(encode_sample(dataset[row], model.encoder, state.media, VISUAL_TOKENS))
            except DataError:
                continue
    return encoded if len(encoded) > 1 else []
