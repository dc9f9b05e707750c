"""The plan of a stage: which samples share a row, which rows a step, at what resolution; and what it costs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import JsonObject, canonical_json
from infimed_core.api.planning import Packs
from infimed_core.plan.index import load_arrays, save_arrays
from infimed_core.plan.lengths import sums_of

NATIVE = -1
"""The cap of a sample seen at native resolution, in arrays."""

DROP_REASONS = ("", "text_too_long", "too_long", "too_many_images", "not_packed", "beyond_length")


@dataclass(frozen=True)
class StagePlan:
    """Which samples of a stage share a row, which rows a step, and at what resolution.

    Attributes:
        rows: int32 [d], the samples drawn, as rows of the dataset, in order.
        caps: int32 [d], most visual tokens an image of each draw, ``NATIVE`` for no limit.
        tokens, supervised, patches, images: int32 [d], what encoding will give, exactly.
        costs: float64 [d], modelled compute.
        dropped: int8 [d], 0 or the number of the reason in ``DROP_REASONS``.
        members, offsets: the packs (int32, int64), as positions in ``rows``, in the order they come.
        steps: int64 [steps + 1]; step ``s`` is packs ``steps[s]`` to ``steps[s + 1]``.
        pack_phases: int64 [packs].
        phases: int64 [phases, 3]: start, stop, cap.
        mixing: how near rows and steps are to random draws (``mixing.mixing_of``).
        sources: of each entry of the mix, how many samples it holds, how many are drawn, and ``passes``: how often
            each is seen.
    """

    rows: NDArray[np.int32]
    caps: NDArray[np.int32]
    tokens: NDArray[np.int32]
    supervised: NDArray[np.int32]
    patches: NDArray[np.int32]
    images: NDArray[np.int32]
    costs: NDArray[np.float64]
    dropped: NDArray[np.int8]
    members: NDArray[np.int32]
    offsets: NDArray[np.int64]
    steps: NDArray[np.int64]
    pack_phases: NDArray[np.int64]
    phases: NDArray[np.int64]
    padded: bool
    row_tokens: int
    num_shrunk: int
    inputs_digest: str
    plan_hash: str = field(default="")
    mixing: JsonObject = field(default_factory=dict)
    sources: list[JsonObject] = field(default_factory=list)

    @property
    def packs(self) -> Packs:
        """The packs, as positions in ``rows``."""
        return Packs(self.members, self.offsets)

    def pack_sums(self, values: NDArray[Any]) -> NDArray[Any]:
        """Sum of a per-draw array over each pack, [packs]."""
        return sums_of(values[self.members], self.offsets)

    @property
    def padding(self) -> NDArray[np.int64]:
        """int64 [packs]: padding tokens; 0 unless the rows are padded batches."""
        if not self.padded or len(self.offsets) == 1:
            return np.zeros(len(self.offsets) - 1, dtype=np.int64)
        longest = np.maximum.reduceat(self.tokens[self.members], self.offsets[:-1])
        padding: NDArray[np.int64] = longest * np.diff(self.offsets) - self.pack_sums(self.tokens)
        return padding

    def drop_reason(self, draw: int) -> str:
        """Why a draw is in no row; "" where it is in one."""
        return DROP_REASONS[int(self.dropped[draw])]

    def exceptions(self) -> dict[str, NDArray[np.int64]]:
        """Draws that are in no row, and those with images made smaller to fit one, by what is to be told of them."""
        found = {
            f"left out as {DROP_REASONS[reason]}": np.flatnonzero(self.dropped == reason)
            for reason in range(1, DROP_REASONS.index("beyond_length"))
        }
        for start, stop, cap in self.phases.tolist():
            smaller = self.caps[start:stop] != cap
            own = start + np.flatnonzero(smaller & (self.dropped[start:stop] == 0))
            what = "images made smaller than the resolution says, to fit a row"
            found[what] = np.concatenate([found.get(what, own[:0]), own])
        return {what: draws for what, draws in found.items() if len(draws)}

    def told_drops(self) -> str:
        """The reasons for which the plan left samples out, with their counts."""
        dropped = cast(dict[str, int], self.describe()["dropped"])
        return ", ".join(f"{reason}: {count}" for reason, count in dropped.items())

    def describe(self) -> JsonObject:
        """Counts for the run record."""
        reasons, counts = np.unique(self.dropped[self.dropped > 0], return_counts=True)
        return {
            "num_drawn": len(self.rows),
            "num_rows": len(self.offsets) - 1,
            "num_steps": len(self.steps) - 1,
            "dropped": {DROP_REASONS[int(reason)]: int(count) for reason, count in zip(reasons, counts, strict=True)},
            "shrunk": self.num_shrunk,
            "padding": int(self.padding.sum()),
            "mixing": self.mixing,
            "sources": self.sources,
            "phases": [self._describe_phase(number) for number in range(len(self.phases))],
        }

    def _describe_phase(self, number: int) -> JsonObject:
        start, stop, cap = (int(value) for value in self.phases[number])
        kept = self.dropped[start:stop] == 0
        num_rows = int((self.pack_phases == number).sum())
        padding = int(self.padding[self.pack_phases == number].sum())
        num_tokens = int(self.tokens[start:stop][kept].sum())
        room = num_tokens + padding if self.padded else num_rows * self.row_tokens
        return {
            "max_visual_tokens": None if cap == NATIVE else cap,
            "num_samples": int(kept.sum()),
            "num_rows": num_rows,
            "num_tokens": num_tokens,
            "num_supervised": int(self.supervised[start:stop][kept].sum()),
            "num_images": int(self.images[start:stop][kept].sum()),
            "num_patches": int(self.patches[start:stop][kept].sum()),
            "fill": num_tokens / room if room else 0.0,
        }

    def save(self, path: Path) -> None:
        """Write as npz without pickle."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        save_arrays(path, {name: value for name, value in values.items() if name not in arrays}, arrays)

    @classmethod
    def load(cls, path: Path) -> StagePlan:
        """Read what ``save`` wrote."""
        facts, arrays = load_arrays(path)
        values: dict[str, Any] = {**arrays, **facts}
        return cls(**values)


def plan_digest(values: dict[str, Any]) -> str:
    """Digest of everything that decides which rows come when."""
    digest = hashlib.sha256(canonical_json([values["inputs_digest"], values["padded"]]).encode())
    for name in ("rows", "caps", "members", "offsets", "steps"):
        digest.update(np.ascontiguousarray(values[name], dtype="<i8").data)
    return digest.hexdigest()
