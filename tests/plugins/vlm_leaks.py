"""The ways in which other code lets packed samples see each other: the isolation test must catch every one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from infimed_core import PackedBatch
from infimed_plugins.vlm.families import Family
from infimed_plugins.vlm.isolation import RowFunction
from infimed_plugins.vlm.rows import row_hidden_states, vision_inputs

Change = Callable[[dict[str, Any]], dict[str, Any]]
"""Forward arguments of a packed row to those that differ in the wrong way."""


def _three_rows(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"position_ids": inputs["position_ids"][1:]}


def _mask_of_ones(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"attention_mask": inputs["input_ids"].new_ones(inputs["input_ids"].shape)}


def _cache(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"use_cache": True}


def _running_on(inputs: dict[str, Any]) -> dict[str, Any]:
    positions = inputs["position_ids"].clone()
    row = positions[0] if positions.ndim == 3 else positions
    row[:] = row.new_tensor(range(row.shape[-1]))
    return {"position_ids": positions}


LEAKS: dict[str, Change] = {
    "three rows of positions": _three_rows,
    "a mask of ones": _mask_of_ones,
    "use_cache": _cache,
    "positions that run on": _running_on,
}
"""Each is how a row is passed to transformers' own attention, which then no longer knows where a sample ends."""


def leaks_of(family: Family) -> dict[str, Change]:
    """The ways that a family can be given: three rows of positions only where it takes four."""
    return {name: change for name, change in LEAKS.items() if change is not _three_rows or family.rope_rows == 4}


def row_with(change: Change) -> RowFunction:
    """A row's hidden states through transformers' own attention, with changed arguments; single samples as ever."""

    def row(module: Any, batch: PackedBatch, family: Family | None) -> Any:
        import torch

        if len(batch.cu_seqlens) == 2 or family is None:
            return row_hidden_states(module, batch, family)
        positions = torch.from_numpy(np.ascontiguousarray(batch.positions))
        inputs: dict[str, Any] = {
            "input_ids": torch.from_numpy(batch.input_ids)[None],
            "position_ids": positions[:, None] if family.rope_rows == 4 else positions[:1],
            "attention_mask": None,
            "use_cache": False,
        }
        if family.takes_images and batch.vision:
            inputs |= vision_inputs(module, family, batch.vision, batch.token_types[None])
        return module.model(**(inputs | change(inputs))).last_hidden_state[0]

    return row
