"""Layers that carry a state from token to token, run for each sample of a packed row from an empty state."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

RECURRENT = ("GatedDeltaNet",)
"""How the layers of linear attention end that a row may be cut for (Qwen3.5's); all take hidden states first."""
CHUNK = 64
"""Tokens that such a layer computes at once: segments of equally many chunks are one batch, padded by less than one."""
_BORDERS = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")


def recurrent_layers(module: Any) -> list[Any]:
    """Every layer of linear attention of a transformers model."""
    return [layer for layer in module.modules() if type(layer).__name__.endswith(RECURRENT)]


def use_empty_states(module: Any, count: Callable[[Any, str], Any]) -> None:
    """Let these layers begin anew at every border of a packed row; weights, names and single samples stay.

    ``count`` is told of every layer that was given the borders.
    """
    for layer in recurrent_layers(module):
        original: Any = type(layer)
        layer.__class__ = _cut_class(original, count)


@lru_cache(maxsize=8)
def _cut_class(original: Any, count: Callable[[Any, str], Any]) -> type:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    class CutGatedDeltaNet(original):  # type: ignore[misc, valid-type]
        """``original`` over segments, each a row of a batch: what fills it up comes after all that is real."""

        def forward(self, hidden_states: Any, *arguments: Any, **named: Any) -> Any:
            """Hidden states [1, L, width] with ``cu_seq_lens_q``; without borders as ``original``."""
            borders = named.get("cu_seq_lens_q")
            if borders is None:
                return super().forward(hidden_states, *arguments, **named)
            count(self, "recurrent")
            named = {name: value for name, value in named.items() if name not in _BORDERS}
            segments = hidden_states[0].split((borders[1:] - borders[:-1]).tolist())
            outputs: list[Any] = [None] * len(segments)
            sizes = [-(-len(segment) // CHUNK) for segment in segments]
            for size in dict.fromkeys(sizes):
                members = [number for number, other in enumerate(sizes) if other == size]
                batch = pad_sequence([segments[number] for number in members], batch_first=True)
                for number, output in zip(members, super().forward(batch, *arguments, **named), strict=True):
                    outputs[number] = output[: len(segments[number])]
            return torch.cat(outputs)[None]

    return CutGatedDeltaNet
