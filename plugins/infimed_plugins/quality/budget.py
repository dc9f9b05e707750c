"""The selector ``budget``: so many samples, good ones and unlike one another."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infimed_core import Candidate, Component, DataError
from infimed_plugins.quality.reasons import Reason
from infimed_plugins.quality.selectors import Columns, GatedSelector

CELL = 1024
"""Most candidates that are compared pair by pair."""
POWER_STEPS = 4


class Budget(GatedSelector):
    """Keeps ``num_samples`` that are good and unlike one another: greedy k-centre weighted by quality.

    Each step takes the sample with the largest ``value * distance ** diversity`` to what is kept already (Gonzalez'
    k-centre for value 1). More than 1,024 candidates are first halved along their principal directions into cells of
    neighbours; each cell is ordered so, and the largest gains of all cells are taken: time grows as n log n.

    Features are ``embeddings`` where a file is named. Otherwise they are the tags and the score's parts and raw
    measurements, hashed to ``width`` numbers: these say nothing of meaning, so that diversity is then one of kinds and
    of picture statistics. Rejects carry ``over_budget``, followed by the score's own reasons.
    """

    num_samples: int = Field(ge=1, description="How many samples to keep.")
    diversity: float = Field(default=1.0, ge=0.0, description="0 is quality alone.")
    tags: tuple[str, ...] = Field(
        default=("modality", "task_type", "source", "image"), description="Tags to spread over."
    )
    width: int = Field(default=64, ge=8, le=1024, description="Numbers in a feature vector.")
    embeddings: str | None = Field(
        default=None, description="Parquet file with the columns id and embedding (lists of one length) to use instead."
    )

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """A file of embeddings that is not there."""
        try:
            if self.embeddings is not None:
                _file(self.embeddings)
        except DataError as error:
            return {"embeddings": str(error)}
        return {}

    def identity(self) -> str:
        """Changes with the settings and the contents of the embeddings."""
        if self.embeddings is None:
            return super().identity()
        with _file(self.embeddings).open("rb") as stream:
            return f"{super().identity()}|{hashlib.file_digest(stream, 'sha256').hexdigest()}"

    @cached_property
    def _embedded(self) -> tuple[dict[str, int], NDArray[np.float32]]:
        """The row of every id, and float32 [n, width] of unit length."""
        from pyarrow import ArrowInvalid, parquet

        try:
            table = parquet.read_table(_file(self.embeddings or ""), columns=["id", "embedding"])
        except (ArrowInvalid, OSError, KeyError) as error:
            raise DataError("bad_embeddings", f"{self.embeddings}: {str(error).splitlines()[0]}") from None
        ids = table.column("id").to_pylist()
        flat = table.column("embedding").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        if not ids or flat.size % len(ids):
            raise DataError("bad_embeddings", f"{self.embeddings}: the embeddings are not all of one length")
        vectors = flat.astype(np.float32).reshape(len(ids), -1)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return {identity: row for row, identity in enumerate(ids)}, vectors / np.maximum(lengths, 1e-12)

    def _features(self, candidate: Candidate) -> NDArray[np.float32]:
        if self.embeddings is not None:
            rows, vectors = self._embedded
            if candidate.id not in rows:
                raise DataError("bad_embeddings", f"{self.embeddings}: it has no row for the sample {candidate.id}")
            return vectors[rows[candidate.id]]
        vector = np.zeros(self.width, dtype=np.float32)
        for tag in self.tags:
            vector[_place(f"{tag}={candidate.tags.get(tag, '')}", self.width)] += 1.0
        for table in (candidate.score.parts, candidate.score.raw):
            for name, number in table.items():
                if number is not None:
                    vector[_place(name, self.width)] += math.tanh(number) * 0.5
        return vector

    def _turned_away(self, columns: Columns) -> Iterable[tuple[int, Reason]]:
        num = len(columns.places)
        if num <= self.num_samples:
            return ()
        ordered = columns.best_first()
        values = np.nan_to_num(columns.values[ordered], nan=0.0)
        features = np.asarray(columns.features)[ordered]
        gains = np.empty(num, dtype=np.float64)
        scale = 2.0 * float(np.sqrt(np.square(features - features.mean(axis=0)).sum(axis=1).max())) or 1.0
        for cell in cells(features, CELL):
            gains[cell] = greedy_gains(features[cell], values[cell], self.diversity, scale)
        # stable: of equal gains the better sample, then the hash of its id
        taken = np.argsort(-gains, kind="stable")[: self.num_samples]
        away = np.ones(num, dtype=bool)
        away[taken] = False
        return [(int(ordered[place]), Reason.OVER_BUDGET) for place in np.flatnonzero(away)]


def greedy_gains(
    features: NDArray[np.float32], values: NDArray[np.float64], diversity: float, scale: float
) -> NDArray[np.float64]:
    """What each point added when the greedy choice came to it, never more than what the choice before it added.

    ``features`` is [n, width], ``values`` [n] from high to low; ``scale`` is a distance that none exceeds. The first
    choice adds its whole value, for nothing is near it yet. Of the result the largest k are the first k choices.
    """
    num = len(values)
    squares = np.einsum("ij,ij->i", features, features)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2.0 * (features @ features.T), 0.0))
    worth = np.power((distances + np.float32(1e-6 * scale)) / np.float32(scale), np.float32(diversity))
    nearest = np.ones(num, dtype=np.float32)
    weights = values.astype(np.float32)
    gains = np.empty(num, dtype=np.float64)
    least = math.inf
    for _ in range(num):
        gain = weights * nearest
        best = int(np.argmax(gain))  # the first of equals: the better sample, then the hash of its id
        least = min(least, float(gain[best]))
        gains[best] = least
        weights[best] = -1.0
        np.minimum(nearest, worth[best], out=nearest)
    return gains


def cells(features: NDArray[np.float32], most: int) -> Iterable[NDArray[np.int64]]:
    """Places 0 to n split into sets of at most ``most`` neighbours: halved at the median of the principal direction.

    Deterministic; within a set the places rise.
    """
    waiting = [np.arange(len(features))]
    while waiting:
        places = waiting.pop()
        if len(places) <= most:
            yield places
            continue
        own = features[places]
        centred = own - own.mean(axis=0)
        direction = centred[int(np.argmax(np.einsum("ij,ij->i", centred, centred)))]
        for _ in range(POWER_STEPS):
            direction = centred.T @ (centred @ direction)
            length = float(np.linalg.norm(direction))
            if length == 0:
                break
            direction = direction / length
        ranked = np.argsort(centred @ direction, kind="stable")
        half = len(places) // 2
        waiting += [np.sort(places[ranked[half:]]), np.sort(places[ranked[:half]])]


def _place(name: str, width: int) -> int:
    if (name, width) not in _places:
        _places[name, width] = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % width
    return _places[name, width]


_places: dict[tuple[str, int], int] = {}


def _file(path: str) -> Path:
    if not Path(path).is_file():
        raise DataError("missing_file", f"{path}: no such file of embeddings; write a Parquet of id and embedding")
    return Path(path)
